# NATTT. `make` alone lists what there is; README.md says more.

CARGO = $(shell tests/cargo.sh)

.PHONY: help setup setup-build setup-demo build demo test quick system vm package deb apt-repo bench bench-dns clean root

help:
	@echo 'make setup-build  install what building needs on Debian 12 (root)'
	@echo 'make setup    the same, and what the tests need: name servers, qemu, Docker and more (root)'
	@echo 'make build    natttd and nattt, in target/release'
	@echo 'make demo     the whole way of a page through the tunnel, shown step by step (root)'
	@echo '              KEEP=1 leaves the network up and says how to enter it'
	@echo 'make deb      the Debian package, in target/deb'
	@echo 'make apt-repo an apt repository with it, signed, in target/apt'
	@echo 'make test     everything: quick, system, vm and package (root)'
	@echo 'make quick    format, lints, unit tests, rustdoc'
	@echo 'make system   real packets in network namespaces (root); ONLY="udp icmp" picks some'
	@echo 'make vm       what needs a kernel of its own, in qemu (root)'
	@echo 'make package  builds the Debian package; installs, boots, removes it (root)'
	@echo 'make bench    throughput against plain forwarding and VXLAN (root)'
	@echo 'make bench-dns what natttd adds to the time of DNS answers (root)'
	@echo 'make clean    remove what was built'

setup:
	@tests/setup.sh

setup-build:
	@tests/setup.sh build

setup-demo:
	@tests/setup.sh demo

build:
	$(CARGO) build --release

demo: root setup-demo build
	@tests/demo.sh

test: root setup build
	@tests/run.sh quick system vm package

quick:
	@tests/run.sh quick

system: root build
	@tests/run.sh system

vm: root build
	@tests/run.sh vm

package: root setup
	@tests/run.sh package

deb: setup-build
	@packaging/deb.sh

apt-repo: deb
	@packaging/apt-repo.sh

bench: root setup build
	@tests/bench.sh

bench-dns: root setup build
	@tests/bench/dns.sh

clean:
	rm -rf target

root:
	@[ "$$(id -u)" = 0 ] || { echo 'This makes network namespaces: run it as root, as in `sudo make demo`.'; exit 1; }
