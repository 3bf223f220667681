// Whether the library of Standard Webhooks accepts a request: {"secret": …, "headers": {…}, "body": …} on stdin.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func main() {
	var asked struct {
		Secret  string
		Headers map[string]string
		Body    string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fail("stdin", err)
	}
	webhook, err := standardwebhooks.NewWebhook(asked.Secret)
	if err != nil {
		fail("secret", err)
	}
	headers := http.Header{}
	for name, value := range asked.Headers {
		headers.Set(name, value)
	}
	if err := webhook.Verify([]byte(asked.Body), headers); err != nil {
		fail("refused", err)
	}
	fmt.Println("verified")
}

func fail(what string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
	os.Exit(1)
}
