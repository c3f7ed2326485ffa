#!/usr/bin/env bash
# CloudEvents SQL (CESQL 1.0, filters in Knative and in the Subscriptions API), with the Go SDK, sql/v2 2.16.2.
# Guess: A OR B is B OR A. The specification's own example is `firstname = 'Francesco' OR subject = 'Francesco'`, for events
# that have either attribute.
# Really: an attribute that the event does not have is an error, and the error ends the evaluation. An event with that
# subject and without `firstname` does not pass the specification's example; it passes with the two sides exchanged,
# since what stands right of a true OR is not looked at. `subject != 'x'` and `NOT (subject = 'x')` are both false for an
# event without a subject, so a filter and its contrary can both drop an event.
# Beside it: `=` and IN cast to different sides. With an Integer attribute of 10, `priority = '010'` is false, and
# `priority IN ('010')` is true. `2147483647 + 1` is -2147483648, without an error.
# What it means: guard each optional attribute, `(EXISTS firstname AND firstname = 'x') OR …`, and look at the error.
# Source: CESQL specification, sections 1.2 (what has an error MUST NOT pass), 3.2, 3.4.2, 3.4.5 and 5; Go SDK issue 898.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOPATH="$folder/go" GOFLAGS="-mod=mod -modcacherw -trimpath"
cd "$folder"
cat > go.mod <<'GO'
module look

go 1.24

require (
	github.com/cloudevents/sdk-go/sql/v2 v2.16.2
	github.com/cloudevents/sdk-go/v2 v2.16.2
)
GO
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/cloudevents/sdk-go/sql/v2/parser"
	cloudevents "github.com/cloudevents/sdk-go/v2"
)

func main() {
	event := cloudevents.NewEvent()
	event.SetID("1")
	event.SetSource("/people")
	event.SetType("com.example.person.moved")
	event.SetSubject("Francesco")
	event.SetExtension("priority", int32(10))
	bare := event.Clone()
	bare.SetSubject("")

	changed := 0
	for _, look := range []struct {
		event    cloudevents.Event
		source   string
		expected string
	}{
		{event, "firstname = 'Francesco' OR subject = 'Francesco'", "false, missing attribute error: firstname"},
		{event, "subject = 'Francesco' OR firstname = 'Francesco'", "true"},
		{event, "(EXISTS firstname AND firstname = 'Francesco') OR subject = 'Francesco'", "true"},
		{bare, "subject != 'Francesco'", "false, missing attribute error: subject"},
		{bare, "NOT (subject = 'Francesco')", "false, missing attribute error: subject"},
		{bare, "NOT (EXISTS subject AND subject = 'Francesco')", "true"},
		{event, "priority = 10", "true"},
		{event, "priority = '010'", "false"},
		{event, "priority IN ('010')", "true"},
		{event, "2147483647 + 1", "-2147483648"},
	} {
		expression, err := parser.Parse(look.source)
		if err != nil {
			panic(err)
		}
		value, err := expression.Evaluate(look.event)
		seen := fmt.Sprint(value)
		if err != nil {
			seen += ", " + err.Error()
		}
		fmt.Printf("  subject=%-12q %-72s %s\n", look.event.Subject(), look.source, seen)
		if seen != look.expected {
			changed++
			fmt.Println("    changed, was:", look.expected)
		}
	}
	if changed > 0 {
		os.Exit(1)
	}
}
GO
echo "CloudEvents SDK for Go, sql/v2 v2.16.2, with $(go env GOVERSION)"
go build -o look . 2> log || { cat log; exit 1; }
./look
