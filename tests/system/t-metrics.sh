#!/bin/bash
# Metrics by HTTP ([metrics] in the configuration): a real Prometheus on A scrapes natttd on A, by
# loopback, and on Y; every query of the Grafana board and of the alerts finds something there.
. "$(dirname "$0")/lib.sh"

PACKAGING=$TESTS/../packaging
PAGE=http://127.0.0.1:9810/metrics

# scrape NODE URL [OPTION...]
scrape() { on "$1" curl -sS --max-time 10 "${@:3}" "$2"; }

# query EXPRESSION: how many series Prometheus finds.
query() {
    scrape A http://127.0.0.1:9090/api/v1/query --data-urlencode "query=$1" |
        jq -e 'if .status == "success" then .data.result | length else error(.error) end'
}

# finds EXPRESSION: true once it finds something.
finds() { (("$(query "$1")" > 0)); }

# as_grafana: fills in the variables of a query as Grafana does.
as_grafana() { sed -e 's/\$instance/.*/g' -e 's/\$__rate_interval/10s/g'; }

prometheus_on_A() {
    cat >"$RUN/prometheus.yml" <<YAML
global: { scrape_interval: 500ms, evaluation_interval: 500ms }
rule_files: [ "$PACKAGING/prometheus/nattt-alerts.yml" ]
scrape_configs:
  - job_name: nattt
    static_configs: [ { targets: [ "127.0.0.1:9810", "203.0.113.1:9810" ] } ]
YAML
    start A prometheus prometheus --config.file="$RUN/prometheus.yml" --log.level=warn \
        --storage.tsdb.path="$RUN/tsdb" --web.listen-address=127.0.0.1:9090
    wait_for 30 "two scraped daemons" two_up
}

two_up() { same 2 "$(query 'up{job="nattt"} == 1')" "daemons that are up"; }

# hold N: opens N connections to the page, sends nothing, says when they are open, and waits.
hold() {
    start A holder "$PYTHON" -c 'import socket, sys, time
held = [socket.create_connection(("127.0.0.1", 9810)) for _ in range(int(sys.argv[1]))]
print("held", flush=True)
time.sleep(60)' "$1"
    wait_for 10 "held connections" grep -q held "$(log A holder)"
}

taken() { on A ss -Hlnt 'sport = :9810' | grep -q .; }

served_again() { scrape A "$PAGE" -f; }

for tool in prometheus promtool; do [ -x "$(command -v $tool)" ] || skip "$tool is not installed"; done

# ---- the files -----------------------------------------------------------------------------------
promtool check rules "$PACKAGING/prometheus/nattt-alerts.yml"
sed "s|ALERTS|$PACKAGING/prometheus/nattt-alerts.yml|" "$TESTS/system/alerts.test.yml" >"$RUN/alerts.test.yml"
promtool test rules "$RUN/alerts.test.yml"
echo "ok - alerts fire when they should"

fig1
gateway_config Y
printf '[metrics]\nlisten = "203.0.113.1:9810"\nother_hosts = true\n' >>"$RUN/Y.toml"
on Y nft add rule ip site input tcp dport 9810 accept
start_natttd Y
client_config A
printf '[metrics]\nlisten = "127.0.0.1:9810"\n' >>"$RUN/A.toml"
start_natttd A
same "This is B." "$(fetch A b.example/)" "the page"

# ---- the page ------------------------------------------------------------------------------------
scrape A "$PAGE" -D "$RUN/head" >"$RUN/page"
promtool check metrics <"$RUN/page"
matches $'^HTTP/1.1 200 OK\r' "$(cat "$RUN/head")" "the status line"
matches 'text/plain; version=0.0.4' "$(cat "$RUN/head")" "the type"
families() { sed -n 's/^# TYPE //p' "$1"; }
control A metrics >"$RUN/printed"
same "$(families "$RUN/printed")" "$(families "$RUN/page")" "the families of nattt metrics and of the page"
same "" "$(grep -E 'example|192\.168\.|198\.51|203\.0|127\.' "$RUN/page")" "names and addresses in the page"
same 405 "$(scrape A "$PAGE" -o /dev/null -w '%{http_code}' -X POST -d x)" "the status of a POST"
same 404 "$(scrape A http://127.0.0.1:9810/ -o /dev/null -w '%{http_code}')" "the status of another page"
same 127.0.0.1:9810 "$(on A ss -Hlnt 'sport = :9810' | awk '{ print $4 }')" "where natttd listens on A"
echo "ok - the page"

# ---- Prometheus ----------------------------------------------------------------------------------
prometheus_on_A
jq -r '.panels[].targets[].expr' "$PACKAGING/grafana/nattt.json" | as_grafana >"$RUN/queries"
more 40 "$(wc -l <"$RUN/queries")" "queries of the board"
while read -r expression; do
    wait_for 15 "an answer to $expression" finds "$expression"
done <"$RUN/queries"
echo "ok - every query of the board finds something"

# What the alerts are about is there: a misspelt name would never fire.
grep -v '^ *#' "$PACKAGING/prometheus/nattt-alerts.yml" | grep -oE 'nattt_[a-z_]+' | sort -u >"$RUN/names"
while read -r name; do
    wait_for 10 "the metric $name" finds "$name"
done <"$RUN/names"
same 0 "$(query 'ALERTS{alertstate="firing"}')" "alerts that fire"
rules A remove
wait_for 20 "an alert about missing rules" finds 'ALERTS{alertname="NatttRulesNotLoaded"}'
rules A apply
echo "ok - a real alert"

# ---- clients that stay ---------------------------------------------------------------------------
hold 100
same 503 "$(scrape A "$PAGE" -o /dev/null -w '%{http_code}')" "the status when every place is held"
same "This is B." "$(fetch A b.example/)" "the page while scrapers hold every place"
control A status >/dev/null
wait_for 20 "scrapes go on" served_again
stop A holder KILL
echo "ok - clients that stay"

# ---- a port that is taken ------------------------------------------------------------------------
stop A prometheus
stop A natttd
start A nc nc -lk 127.0.0.1 9810
wait_for 10 "somebody at the port" taken
start_natttd A
same "This is B." "$(fetch A b.example/)" "the page without metrics"
matches 'metrics: cannot listen on 127.0.0.1:9810' "$(cat "$(log A natttd)")" "the log"
