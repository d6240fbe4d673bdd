package dockerfile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestRead(t *testing.T) {
	for name, tt := range map[string]struct {
		src  string
		o    Options
		want Scan
	}{
		"one stage":    {src: "FROM alpine:3.20\nRUN true\n", want: Scan{Runtime: "alpine:3.20"}},
		"scratch":      {src: "FROM scratch\nCOPY . /\n"},
		"platform":     {src: "FROM --platform=$BUILDPLATFORM golang:1 AS b\nFROM scratch\nCOPY --from=b /x /\n", want: Scan{BuildTime: []string{"golang:1"}}},
		"multi stage":  {src: "FROM golang:1 AS build\nFROM alpine\nCOPY --from=build /a /a\n", want: Scan{Runtime: "alpine", BuildTime: []string{"golang:1"}}},
		"arg default":  {src: "ARG V=3.20\nFROM alpine:${V}\n", want: Scan{Runtime: "alpine:3.20"}},
		"arg fallback": {src: "ARG V\nFROM alpine:${V:-edge}\n", want: Scan{Runtime: "alpine:edge"}},
		"arg given":    {src: "ARG V=1\nFROM alpine:$V\n", o: Options{BuildArgs: []string{"V=2"}}, want: Scan{Runtime: "alpine:2"}},
		"args nested":  {src: "ARG R=reg.io\nARG I=$R/app\nFROM $I:1\n", want: Scan{Runtime: "reg.io/app:1"}},
		"several args": {src: "ARG A=x B=y\nFROM $A:$B\n", want: Scan{Runtime: "x:y"}},
		"copy image":   {src: "FROM alpine\nCOPY --from=busybox:1.36 /bin/sh /\n", want: Scan{Runtime: "alpine", BuildTime: []string{"busybox:1.36"}}},
		"mount image":  {src: "FROM alpine\nRUN --mount=type=bind,from=ghcr.io/o/r:1,target=/m ls /m\n", want: Scan{Runtime: "alpine", BuildTime: []string{"ghcr.io/o/r:1"}}},
		"copy index":   {src: "FROM golang:1\nFROM alpine\nCOPY --from=0 /a /a\n", want: Scan{Runtime: "alpine", BuildTime: []string{"golang:1"}}},
		"target":       {src: "FROM golang:1 AS build\nFROM alpine AS r\nFROM build AS test\n", o: Options{Target: "r"}, want: Scan{Runtime: "alpine"}},
		"target chain": {src: "FROM a AS one\nFROM one AS two\nFROM two AS three\n", want: Scan{Runtime: "a"}},
		"stage case":   {src: "FROM a AS One\nFROM one\n", want: Scan{Runtime: "a"}},
		"heredoc":      {src: "FROM a\nRUN <<EOF\nFROM b\nEOF\n", want: Scan{Runtime: "a"}},
		"continuation": {src: "FROM \\\n  a:1 \\\n  AS x\n", want: Scan{Runtime: "a:1"}},
		"same twice":   {src: "FROM a AS x\nFROM a\nCOPY --from=x / /\n", want: Scan{Runtime: "a"}},
		"digest":       {src: "FROM a@sha256:" + strings.Repeat("0", 64) + "\n", want: Scan{Runtime: "a@sha256:" + strings.Repeat("0", 64)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read([]byte(tt.src), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		src, want string
		o         Options
	}{
		"empty":     {src: "", want: "file with no instructions"},
		"no from":   {src: "ARG A=1\n", want: "no FROM"},
		"nonsense":  {src: "FROM a\nFOO bar\n", want: "line 2"},
		"target":    {src: "FROM a\n", o: Options{Target: "x"}, want: `target stage "x"`},
		"blank arg": {src: "ARG B\nFROM $B\n", want: "should not be blank"},
		"late":      {src: "FROM a\nCOPY --from=7 / /\n", want: "invalid from flag value 7"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read([]byte(tt.src), tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestCheckSyntax(t *testing.T) {
	for src, ok := range map[string]bool{
		"FROM a\n":                               true,
		"# syntax=docker/dockerfile:1\nFROM a\n": true,
		"# syntax = docker.io/docker/dockerfile:1.7-labs\n": true,
		"# syntax=docker/dockerfile@sha256:aa\n":            true,
		"# syntax=127.0.0.1:5000/evil\nFROM a\n":            false,
		"#syntax=evil/dockerfile\n":                         false,
		"// syntax=evil/dockerfile\n":                       false,
		"{\"syntax\": \"evil/dockerfile\"}":                 false,
	} {
		if err := CheckSyntax([]byte(src)); (err == nil) != ok {
			t.Errorf("%q: %v, want allowed=%v", src, err, ok)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("ARG V=1\nFROM --platform=$BUILDPLATFORM a:${V:-2} AS b\nRUN --mount=from=c true\n", "b")
	f.Fuzz(func(t *testing.T, src, target string) {
		_, _ = Read([]byte(src), Options{Target: target})
		_ = CheckSyntax([]byte(src))
	})
}
