// A web server whose page is made of texts in Go, a template and a style sheet. It listens
// at the address that it is given.
package main

import (
	"html/template"
	"log"
	"net/http"
	"os"
)

// texts are those of the page.
var texts []string

func main() {
	files := http.FileServer(http.Dir("static"))
	http.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache") // or a reload may show the one before
		files.ServeHTTP(w, r)
	})
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		page, err := template.ParseFiles("templates/page.html") // read again, so that a save of it shows
		if err == nil {
			err = page.Execute(w, map[string]any{"Script": os.Getenv("LIVERELOAD"), "Texts": texts})
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
