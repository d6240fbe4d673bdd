package runner

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"acrd/runner/mask"
)

// A progressWriter writes the progress messages of one step's builds, one JSON
// object a call, without secrets. Output of a build stands in them in base64,
// a piece a message, so it is masked before that, each stream of each vertex
// as one text. Of very long output, messages say nothing more in the end: it
// is in the log.
type progressWriter struct {
	t       *transcript
	id      string
	streams map[string]*mask.Stream
	left    int
}

// mostProgress is how long a step's messages may be until they are without
// output.
const mostProgress = 64 << 20

func (t *transcript) progress(id string) *progressWriter {
	return &progressWriter{t: t, id: id, streams: map[string]*mask.Stream{}, left: mostProgress}
}

func (w *progressWriter) Write(b []byte) (int, error) {
	w.left -= len(b)
	shown := b
	if !w.t.masker.Empty() || w.left < 0 {
		shown = w.masked(b)
	}
	if len(shown) == 0 || w.left < -mostProgress {
		return len(b), nil
	}
	return len(b), w.t.log.Progress(w.id, shown)
}

// masked is the message without secrets; nothing, if it is not JSON.
func (w *progressWriter) masked(b []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var message map[string]any
	if d.Decode(&message) != nil {
		return nil
	}
	logs, _ := message["logs"].([]any)
	for _, l := range logs {
		w.maskLog(l)
	}
	delete(message, "logs")
	w.maskAll(message)
	if logs != nil && w.left >= 0 {
		message["logs"] = logs
	}
	if len(message) == 0 {
		return nil
	}
	shown, err := json.Marshal(message)
	if err != nil {
		return nil
	}
	return append(shown, '\n')
}

func (w *progressWriter) maskLog(l any) {
	entry, ok := l.(map[string]any)
	if !ok {
		return
	}
	data, _ := entry["data"].(string)
	text, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return
	}
	vertex, _ := entry["vertex"].(string)
	number, _ := entry["stream"].(json.Number)
	key := vertex + " " + number.String()
	if w.streams[key] == nil {
		w.streams[key] = w.t.masker.Stream()
	}
	entry["data"] = base64.StdEncoding.EncodeToString(w.streams[key].Next(text))
}

// maskAll masks every text in v, and those in base64 that BuildKit's messages
// have.
func (w *progressWriter) maskAll(v any) any {
	switch v := v.(type) {
	case string:
		return w.t.masker.String(v)
	case []any:
		for i := range v {
			v[i] = w.maskAll(v[i])
		}
	case map[string]any:
		for key, value := range v {
			switch key {
			case "data", "short", "detail":
				v[key] = w.maskBytes(value)
			default:
				v[key] = w.maskAll(value)
			}
		}
	}
	return v
}

func (w *progressWriter) maskBytes(v any) any {
	switch v := v.(type) {
	case string:
		if text, err := base64.StdEncoding.DecodeString(v); err == nil {
			return base64.StdEncoding.EncodeToString(w.t.masker.Text(text))
		}
		return w.t.masker.String(v)
	case []any:
		for i := range v {
			v[i] = w.maskBytes(v[i])
		}
	}
	return v
}
