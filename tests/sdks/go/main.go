// Publishes events with the Go SDK of CloudEvents.
//
// Usage: sender URL PROTOCOL MODE < events.json
// PROTOCOL is nats, nats_jetstream or http, MODE is binary or structured; each event goes out on the subject that it
// names, or to the URL. With http, a line is written for each event that was not delivered: its id, and why.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/nats-io/nats.go"

	ce_nats "github.com/cloudevents/sdk-go/protocol/nats/v2"
	"github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
)

type wanted struct {
	On         string         `json:"on"`
	ID         string         `json:"id"`
	Source     string         `json:"source"`
	Type       string         `json:"type"`
	Subject    string         `json:"subject"`
	Time       string         `json:"time"`
	Kind       string         `json:"datacontenttype"`
	Text       *string        `json:"text"`
	Bytes      []byte         `json:"bytes"`
	Extensions map[string]any `json:"extensions"`
}

func main() {
	log.SetFlags(0)
	url, protocol, mode := os.Args[1], os.Args[2], os.Args[3]
	var events []wanted
	check(json.NewDecoder(os.Stdin).Decode(&events))
	ctx := binding.WithForceBinary(context.Background())
	if mode == "structured" {
		ctx = binding.WithForceStructured(context.Background())
	}
	for _, item := range events {
		sender, done := open(url, protocol, item.On)
		client, err := cloudevents.NewClient(sender)
		check(err)
		result := client.Send(ctx, built(item))
		switch {
		case protocol == "http" && !cloudevents.IsACK(result):
			fmt.Println(item.ID, result)
		case protocol != "http" && cloudevents.IsUndelivered(result):
			log.Fatalf("%s: %v", item.ID, result)
		}
		done()
	}
}

func open(url, protocol, subject string) (any, func()) {
	if protocol == "http" {
		sender, err := cloudevents.NewHTTP(cloudevents.WithTarget(url))
		check(err)
		return sender, func() {}
	}
	if protocol == "nats" {
		connection, err := nats.Connect(url)
		check(err)
		sender, err := ce_nats.NewSenderFromConn(connection, subject)
		check(err)
		return sender, func() { check(connection.Flush()); connection.Close() }
	}
	sender, err := nats_jetstream.NewSender(url, "HEED", subject, nil, nil)
	check(err)
	return sender, func() { check(sender.Close(context.Background())) }
}

func built(item wanted) cloudevents.Event {
	event := cloudevents.NewEvent()
	event.SetID(item.ID)
	event.SetSource(item.Source)
	event.SetType(item.Type)
	if item.Subject != "" {
		event.SetSubject(item.Subject)
	}
	if item.Time != "" {
		at, err := time.Parse(time.RFC3339Nano, item.Time)
		check(err)
		event.SetTime(at)
	}
	for name, value := range item.Extensions {
		if number, ok := value.(float64); ok {
			value = int32(number)
		}
		event.SetExtension(name, value)
	}
	switch {
	case item.Bytes != nil:
		check(event.SetData(item.Kind, item.Bytes))
	case item.Text != nil && item.Kind == "application/json":
		check(event.SetData(item.Kind, json.RawMessage(*item.Text)))
	case item.Text != nil:
		check(event.SetData(item.Kind, []byte(*item.Text)))
		event.DataBase64 = false
	}
	return event
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
