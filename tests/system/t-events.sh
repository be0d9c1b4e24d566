#!/bin/bash
# `nattt events`: what happens is told as it happens, to readers who read, who do not, and who go.
. "$(dirname "$0")/lib.sh"

# told NODE PATTERN WHAT: waits for such a line of its watcher.
told() {
    wait_for 10 "$3" grep -qE "$2" "$(log "$1" events)"
}

# watch NODE [OPTION]: from now on.
watch() {
    start "$1" events "$BIN/nattt" --socket "$RUN/$1.sock" "${@:2}" events
    told "$1" watching "the first event on $1"
}

# opened COUNT: the watcher of A has told of so many flows.
opened() { (($(grep -c '"event":"flow_opened"' "$(log A events)") >= $1)); }

fig1
nattt_client A
nattt_gateway Y 192.168.0.2
watch A --json
watch Y

# Mappings, flows at both ends, what is refused, rules.
same "This is B." "$(fetch A b.example/)" "the page"
told A '"event":"mapping_added".*"names":\["b\.example"\].*203\.0\.113\.1:100 192\.168\.0\.2' "the mapping"
told A '"event":"flow_opened".*"protocol":"tcp".*"name":"b\.example"' "the flow at A"
on A "$PYTHON" "$PEERS/talk.py" b.example 7 one 'quiet 1' two >/dev/null
told A '"event":"flow_changed".*"state":"closing".*"was":"established"' "the flow's end at A"
told Y '^[0-9:.]{12}  flow opened +tcp 198\.51\.100\.10:.* -> 192\.168\.0\.2:80, seen as 198' "the flow at Y"
refused "what is not exported" fetch A unexported.example/ --max-time 1
told Y '  counted +[0-9]+ more gateway_not_exported: ' "the refusal"
rules A remove
told A '"event":"rules","rules":\{"state":"missing"' "rules that are lost"
rules A apply
told A '"event":"rules","rules":\{"state":"loaded"' "rules that are back"

# A call to reload that is refused is told of; one that changes something is survived.
cp "$RUN/A.toml" "$RUN/right"
sed -i '/^\[client\]/a answer_ttl = 30' "$RUN/A.toml"
kill -HUP "${PID[A-natttd]}"
told A '"event":"reload","reload":\{"number":1,"state":\{"refused":".*answer_ttl' "the refused reload"
sed '/^\[client\]/a answer_ttl_s = 30' "$RUN/right" >"$RUN/A.toml"
matches 'is in effect' "$(on A "$BIN/nattt" --socket "$RUN/A.sock" reload --config "$RUN/A.toml")" "the reload"
told A '"event":"watching".*"reload":\{"number":2,"state":"done"\}' "the reload that is done"
before=$(grep -c '"event":"flow_opened"' "$(log A events)")
same "This is B." "$(fetch A b.example/)" "the page after the reload"
wait_for 10 "a flow that was opened after it" opened $((before + 1))
jq -e . "$(log A events)" >/dev/null || fail "not every line is JSON"

# A path falls silent.
mapped A twice.example >/dev/null
on R nft -f - <<<'table ip site { chain forward { type filter hook forward priority filter; ip daddr 203.0.113.1 reject with icmp type host-unreachable; }; }'
for n in 1 2 3 4 5 6; do fetch A twice.example/ --max-time 1 >/dev/null 2>&1 || true; done
told A '"event":"path_silent".*"names":\["twice\.example"\].*"path":"203\.0\.113\.1:100 192\.168\.0\.2"' "the silent path"
on R nft delete table ip site

# A reader that sleeps holds nobody up, and is told later.
before=$(grep -c '"event":"flow_opened"' "$(log A events)")
kill -STOP "${PID[A-events]}"
for n in 1 2 3; do same "This is B." "$(fetch A b.example/)" "page $n"; done
kill -CONT "${PID[A-events]}"
wait_for 10 "the flows that were opened meanwhile" opened $((before + 3))

# At most four watch, and asking goes on.
for n in 1 2 3; do start A "watcher-$n" "$BIN/nattt" --socket "$RUN/A.sock" events; done
for n in 1 2 3; do wait_for 5 "watcher $n" grep -q watching "$(log A "watcher-$n")"; done
refused "a fifth watcher" control A events
same 1 "$STATUS" "its exit status"
matches '4 others watch already' "$OUTPUT" "why"
matches 'loaded' "$(control A status)" "status beside four watchers"

# The daemon's end is the stream's; without one there is none. Nobody reading any more is no error.
same done "$({ control A events 2>&1 || true; } | head -c 0; control Y events | head -n 1 >/dev/null && echo done)" "a closed pipe"
stop A natttd
wait "${PID[A-events]}" || STATUS=$?
unset "PID[A-events]"
same 3 "$STATUS" "the exit status when natttd ends"
told A 'natttd has ended' "the end"
refused "events without a daemon" control A events
same 3 "$STATUS" "the exit status without a daemon"
