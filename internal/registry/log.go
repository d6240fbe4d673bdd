package registry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/sirupsen/logrus"
)

// redirectLogrus sends what anybody logs with logrus to log, from warnings up.
// Distribution mostly logs to an entry that it carries in its contexts, but in
// places to logrus itself, and both are the same logger of the whole process.
func redirectLogrus(log *slog.Logger) {
	std := logrus.StandardLogger()
	std.SetOutput(io.Discard)
	std.SetLevel(logrus.WarnLevel)
	hooks := logrus.LevelHooks{}
	hooks.Add(slogHook{log})
	std.ReplaceHooks(hooks)
}

// slogHook is a logrus.Hook that writes to a slog.Logger.
type slogHook struct{ log *slog.Logger }

// attrs are the facts worth keeping of distribution's many, with our keys.
var attrs = []struct{ from, to string }{
	{"http.request.method", "method"},
	{"http.request.uri", "uri"},
	{"http.request.remoteaddr", "remote"},
	{"http.response.status", "status"},
	{"vars.name", "image"},
	{"err.code", "code"},
	{"err.message", "message"},
	{"err.detail", "err"},
	{logrus.ErrorKey, "err"},
}

func (slogHook) Levels() []logrus.Level {
	return []logrus.Level{logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel, logrus.WarnLevel}
}

func (h slogHook) Fire(e *logrus.Entry) error {
	ctx := e.Context
	if ctx == nil {
		ctx = context.Background()
	}
	at := level(e)
	if !h.log.Enabled(ctx, at) {
		return nil
	}
	var args []any
	for _, a := range attrs {
		v, ok := e.Data[a.from]
		if !ok {
			continue
		}
		text := fmt.Sprint(v)
		if a.to == "uri" {
			text, _, _ = strings.Cut(text, "?") // the query of an upload is its key
		}
		args = append(args, a.to, text)
	}
	h.log.Log(ctx, at, e.Message, args...)
	return nil
}

// level judges anew, because to distribution every 404 is an error. Ours is an
// error only when the registry could not do what it should.
func level(e *logrus.Entry) slog.Level {
	status, _ := e.Data["http.response.status"].(int)
	switch {
	case status >= 500:
		return slog.LevelError
	case status >= 400:
		return slog.LevelDebug
	}
	return slog.LevelWarn
}
