# NATTT. `make` alone lists what there is; README.md says more.

CARGO = $(shell tests/cargo.sh)

.PHONY: help setup build demo test quick system vm bench clean root

help:
	@echo 'make setup    install what is missing on Debian 12 (root)'
	@echo 'make build    natttd and nattt, in target/release'
	@echo 'make demo     the whole way of a page through the tunnel, shown step by step (root)'
	@echo '              KEEP=1 leaves the network up and says how to enter it'
	@echo 'make test     everything: quick, system and vm (root)'
	@echo 'make quick    format, lints, unit tests, rustdoc'
	@echo 'make system   real packets in network namespaces (root); ONLY="udp icmp" picks some'
	@echo 'make vm       what needs a kernel of its own, in qemu (root)'
	@echo 'make bench    throughput against plain forwarding and VXLAN (root)'
	@echo 'make clean    remove what was built'

setup:
	@tests/setup.sh

build:
	$(CARGO) build --release

demo: root setup build
	@tests/demo.sh

test: root setup build
	@tests/run.sh quick system vm

quick:
	@tests/run.sh quick

system: root build
	@tests/run.sh system

vm: root build
	@tests/run.sh vm

bench: root setup build
	@tests/bench.sh

clean:
	rm -rf target

root:
	@[ "$$(id -u)" = 0 ] || { echo 'This makes network namespaces: run it as root, as in `sudo make demo`.'; exit 1; }
