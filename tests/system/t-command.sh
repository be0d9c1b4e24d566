#!/bin/bash
# The command itself: exit statuses, pipes that close, --watch, metrics, completion.
. "$(dirname "$0")/lib.sh"

# nattt ARGUMENTS...: on A, without its daemon's socket.
nattt() { on A "$BIN/nattt" "$@"; }

# status EXPECTED ARGUMENTS...: the exit status with A's socket; what it says in OUTPUT.
status() {
    STATUS=0
    OUTPUT=$(nattt --socket "$RUN/A.sock" "${@:2}" 2>&1) || STATUS=$?
    same "$1" "$STATUS" "the exit status of nattt ${*:2}, which said '$OUTPUT'"
}

# To a disk that is full.
nattt_full() { nattt completion bash >/dev/full; }

# frames MORE PATTERN: that many lines of the watched status match.
frames() { (($(grep -c "$2" "$(log A watch)") > $1)); }

fig1
client_config A

# ---- exit statuses -------------------------------------------------------------------------------
for question in status mappings flows counters "status --watch"; do
    status 3 $question
    matches 'no natttd listens' "$OUTPUT" "what 'nattt $question' says"
done
status 3 metrics
matches '^nattt_up 0$' "$(tail -n 1 <<<"$OUTPUT")" "the metric of a daemon that does not run"
status 2 reboot
status 2 status --watch=0
status 2 explain a..b
status 1 check --config "$RUN/absent.toml"
status 1 rules print --config "$RUN/absent.toml"
matches 'absent\.toml' "$OUTPUT" "the file in the message"
status 0 check --config "$RUN/A.toml"

nattt_client A
for question in status mappings flows counters metrics "status --json"; do status 0 $question; done

# ---- whoever reads may stop; a full disk is an error ---------------------------------------------
for question in "counters --all --explain" "rules print --config $RUN/A.toml" "completion bash" \
    "status --watch=1" metrics --help; do
    { timeout 30 ip netns exec "$PREFIX-A" "$BIN/nattt" --socket "$RUN/A.sock" $question 2>"$RUN/said" &&
        echo done >"$RUN/status" || echo "exit status $?" >"$RUN/status"; } | head -c 1 >/dev/null
    same done "$(cat "$RUN/status")" "nattt $question | head"
    same "" "$(cat "$RUN/said")" "what nattt $question says when nobody reads any more"
done
refused "writing to a full disk" nattt_full
same 1 "$STATUS" "the exit status when the disk is full"

# ---- --watch -------------------------------------------------------------------------------------
start A watch "$BIN/nattt" --socket "$RUN/A.sock" status --watch=1
wait_for 10 "a second status" frames 1 '^Rules:  *loaded'
stop A natttd
wait_for 10 "the watcher to notice that natttd ended" frames 0 'no natttd listens'
seen_so_far=$(grep -c '^Rules:  *loaded' "$(log A watch)")
start_natttd A
wait_for 10 "the watcher to see natttd again" frames "$seen_so_far" '^Rules:  *loaded'
stop A watch

# ---- metrics -------------------------------------------------------------------------------------
nattt_gateway Y
same "This is B." "$(fetch A b.example/)" "the page"
control A metrics >"$RUN/metrics"
metric() { grep -xE "$1" "$RUN/metrics" >/dev/null || fail "$1 is not in $(cat "$RUN/metrics")"; }
metric 'nattt_up 1'
metric 'nattt_rules\{state="loaded"\} 1'
metric 'nattt_mappings 1'
metric 'nattt_flows\{role="client"\} [1-9][0-9]*'
metric 'nattt_client_encapsulated_total [1-9][0-9]*'
metric 'nattt_queue_dropped_total\{queue="26800"\} 0'
metric 'nattt_queue_bound\{queue="26816",purpose="dns"\} 1'
same "$(counter A client_encapsulated)" \
    "$(awk '$1 == "nattt_client_encapsulated_total" { print $2 }' "$RUN/metrics")" "a counter, and its metric"
if command -v promtool >/dev/null; then promtool check metrics <"$RUN/metrics"; fi

# ---- completion ----------------------------------------------------------------------------------
nattt completion bash >"$RUN/completion"
completed=$(bash -c '. "$1"; COMP_WORDS=(nattt do); COMP_CWORD=1; $(complete -p nattt |
    sed "s/.*-F \([^ ]*\) .*/\1/") nattt do nattt; echo "${COMPREPLY[@]}"' - "$RUN/completion")
same doctor "$completed" "'nattt do' completed"
matches '#compdef nattt' "$(nattt completion zsh)" "zsh's script"
matches 'complete -c nattt' "$(nattt completion fish)" "fish's script"
