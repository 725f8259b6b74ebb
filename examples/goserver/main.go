// A web server under development. It listens at the address that it is given.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

const page = `<!doctype html>
<html lang="en">
<title>Hello</title>
<link rel="icon" href="data:,">
<script src="http://127.0.0.1:8000/livereload.js" async></script>
<h1>%s</h1>
`

func main() {
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, page, greeting())
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}

func greeting() string { return "Hello" }
