// lookup NAME: its addresses as Go's resolver finds them (GODEBUG=netdns=go or cgo), then the page.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

func main() {
	name := os.Args[1]
	addresses, err := net.LookupHost(name)
	check(err)
	fmt.Println(strings.Join(addresses, " "))
	response, err := http.Get("http://" + name + "/")
	check(err)
	page, err := io.ReadAll(response.Body)
	check(err)
	os.Stdout.Write(page)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
