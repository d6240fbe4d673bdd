package inbound

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
)

// A cloudEvent is one of CloudEvents 1.0, whichever way it came over HTTP.
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject"`
	Time        time.Time       `json:"time"`
	Data        json.RawMessage `json:"data"`
	Base64      string          `json:"data_base64"`
}

// readCloudEvents reads the three modes: binary, structured and batched.
func readCloudEvents(h http.Header, body []byte) ([]cloudEvent, error) {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	var events []cloudEvent
	switch {
	case media == "application/cloudevents-batch+json":
		if err := decode(body, &events); err != nil {
			return nil, err
		}
	case h.Get("Ce-Specversion") != "":
		return binaryEvent(h, body)
	default:
		events = make([]cloudEvent, 1)
		if err := decode(body, &events[0]); err != nil {
			return nil, err
		}
	}
	for i := range events {
		if err := events[i].finish(); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
	}
	return events, nil
}

// binaryEvent is one whose attributes are headers, and whose data is the body.
func binaryEvent(h http.Header, body []byte) ([]cloudEvent, error) {
	e := cloudEvent{
		SpecVersion: h.Get("Ce-Specversion"), ID: h.Get("Ce-Id"), Source: h.Get("Ce-Source"), Type: h.Get("Ce-Type"),
		Subject: h.Get("Ce-Subject"), Data: body,
	}
	if at, err := time.Parse(time.RFC3339Nano, h.Get("Ce-Time")); err == nil {
		e.Time = at
	}
	return []cloudEvent{e}, e.finish()
}

func (e *cloudEvent) finish() error {
	if e.SpecVersion != "1.0" || e.ID == "" || e.Source == "" || e.Type == "" {
		return errors.New("it is no event of CloudEvents 1.0: specversion, id, source and type are needed")
	}
	if e.Base64 != "" {
		data, err := base64.StdEncoding.DecodeString(e.Base64)
		if err != nil {
			return errors.New("data_base64 is not base64")
		}
		e.Data = data
	}
	return nil
}

// parseCloudEvents reads events of any producer: those whose types are known
// here as such, and others if their data says repository and tag.
func parseCloudEvents(h http.Header, body []byte) ([]Notice, error) {
	events, err := readCloudEvents(h, body)
	if err != nil {
		return nil, err
	}
	var all []Notice
	for _, e := range events {
		some, err := e.notices()
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func (e *cloudEvent) notices() ([]Notice, error) {
	switch {
	case strings.HasPrefix(e.Type, "harbor."):
		return e.harbor()
	case strings.HasPrefix(e.Type, "zotregistry."):
		return e.zot()
	case strings.HasPrefix(e.Type, acrPrefix), strings.HasPrefix(e.Type, "Acrd."):
		return acrNotices(e.ID, e.Type, e.Data)
	}
	return e.generic()
}

// generic is for types that nobody knows: the word at their end says what has
// happened.
func (e *cloudEvent) generic() ([]Notice, error) {
	verb := e.Type[strings.LastIndexAny(e.Type, ".:/")+1:]
	action, ok := map[string]Action{
		"push": Push, "pushed": Push, "published": Push, "created": Push, "updated": Push,
		"delete": Delete, "deleted": Delete, "removed": Delete, "untag": Untag, "untagged": Untag,
	}[strings.ToLower(verb)]
	if !ok {
		return nil, nil
	}
	var data struct {
		Registry   string `json:"registry"`
		Host       string `json:"host"`
		Repository string `json:"repository"`
		Name       string `json:"name"`
		Tag        string `json:"tag"`
		Digest     string `json:"digest"`
		MediaType  string `json:"mediaType"`
	}
	if err := decode(e.Data, &data); err != nil {
		return nil, err
	}
	n := Notice{
		ID: e.Source + " " + e.ID, Action: action, Time: e.Time, Host: cmp.Or(data.Registry, data.Host),
		Repository: cmp.Or(data.Repository, data.Name), Tag: data.Tag, Digest: data.Digest, MediaType: data.MediaType,
	}
	if n.Repository == "" {
		return nil, nil
	}
	return []Notice{n}, nil
}
