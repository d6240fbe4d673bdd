package dockerfile

import (
	"errors"
	"strings"
	"testing"

	"acrd/steps"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A sample is a Dockerfile and what it is built from. TestBuildKit holds
// BuildKit itself to the same table.
type sample struct {
	src  string
	o    Options
	want Scan // its platform is not looked at
}

func samples() map[string]sample {
	digest := "a@sha256:" + strings.Repeat("0", 64)
	return map[string]sample{
		"one stage":         {src: "FROM alpine:3.20\nRUN true\n", want: Scan{Runtime: "alpine:3.20"}},
		"scratch":           {src: "FROM scratch\nCOPY . /\n"},
		"platform":          {src: "FROM --platform=$BUILDPLATFORM golang:1 AS b\nFROM scratch\nCOPY --from=b /x /\n", want: Scan{BuildTime: []string{"golang:1"}}},
		"multi stage":       {src: "FROM golang:1 AS build\nFROM alpine\nCOPY --from=build /a /a\n", want: Scan{Runtime: "alpine", BuildTime: []string{"golang:1"}}},
		"arg default":       {src: "ARG V=3.20\nFROM alpine:${V}\n", want: Scan{Runtime: "alpine:3.20"}},
		"arg quoted":        {src: "ARG V=\"3.20\" W='-x'\nFROM alpine:${V}$W\n", want: Scan{Runtime: "alpine:3.20-x"}},
		"arg fallback":      {src: "ARG V\nFROM alpine:${V:-edge}\n", want: Scan{Runtime: "alpine:edge"}},
		"arg alternative":   {src: "ARG V=1\nFROM alpine${V:+:3}\n", want: Scan{Runtime: "alpine:3"}},
		"arg replaced":      {src: "ARG V=3.20.1\nFROM alpine:${V%.*}-${V//./_}\n", want: Scan{Runtime: "alpine:3.20-3_20_1"}},
		"arg given":         {src: "ARG V=1\nFROM alpine:$V\n", o: Options{BuildArgs: []string{"V=2"}}, want: Scan{Runtime: "alpine:2"}},
		"arg twice":         {src: "ARG V=1\nARG V=2\nFROM alpine:$V\n", want: Scan{Runtime: "alpine:2"}},
		"arg of a stage":    {src: "ARG V=1\nFROM a:$V AS x\nARG V=2\nFROM b:$V\n", want: Scan{Runtime: "b:1"}},
		"args nested":       {src: "ARG R=reg.io\nARG I=$R/app\nFROM $I:1\n", want: Scan{Runtime: "reg.io/app:1"}},
		"several args":      {src: "ARG A=x B=y\nFROM $A:$B\n", want: Scan{Runtime: "x:y"}},
		"undefined suffix":  {src: "FROM alpine$SUFFIX\n", want: Scan{Runtime: "alpine"}},
		"arg names a stage": {src: "ARG S=b\nFROM a AS b\nFROM c AS d\nFROM $S\n", want: Scan{Runtime: "a"}},
		"copy image":        {src: "FROM alpine\nCOPY --from=busybox:1.36 /bin/sh /\n", want: Scan{Runtime: "alpine", BuildTime: []string{"busybox:1.36"}}},
		"mount image":       {src: "FROM alpine\nRUN --mount=type=bind,from=ghcr.io/o/r:1,target=/m ls /m\n", want: Scan{Runtime: "alpine", BuildTime: []string{"ghcr.io/o/r:1"}}},
		"mount stage":       {src: "FROM a AS b\nFROM alpine\nRUN --mount=from=B,target=/m --mount=type=cache,target=/c ls\n", want: Scan{Runtime: "alpine", BuildTime: []string{"a"}}},
		"mount number":      {src: "FROM a\nFROM alpine\nRUN --mount=from=0,target=/m ls\n", want: Scan{Runtime: "alpine", BuildTime: []string{"0"}}},
		"copy index":        {src: "FROM golang:1\nFROM alpine\nCOPY --from=0 /a /a\n", want: Scan{Runtime: "alpine", BuildTime: []string{"golang:1"}}},
		"copy chain":        {src: "FROM a AS a1\nFROM b AS b1\nCOPY --from=a1 / /\nFROM c\nCOPY --from=b1 / /\n", want: Scan{Runtime: "c", BuildTime: []string{"b", "a"}}},
		"copy link":         {src: "FROM alpine\nCOPY --link --chown=1:1 --from=b --chmod=755 / /\n", want: Scan{Runtime: "alpine", BuildTime: []string{"b"}}},
		"target":            {src: "FROM golang:1 AS build\nFROM alpine AS r\nFROM build AS test\n", o: Options{Target: "r"}, want: Scan{Runtime: "alpine"}},
		"target case":       {src: "FROM golang:1 AS build\nFROM alpine\n", o: Options{Target: "BUILD"}, want: Scan{Runtime: "golang:1"}},
		"target chain":      {src: "FROM a AS one\nFROM one AS two\nFROM two AS three\n", want: Scan{Runtime: "a"}},
		"unneeded stage":    {src: "FROM golang AS a\nFROM alpine\n", want: Scan{Runtime: "alpine"}},
		"stage case":        {src: "FROM a AS One\nFROM one\n", want: Scan{Runtime: "a"}},
		"stage twice":       {src: "FROM a AS x\nFROM b AS x\nFROM x\n", want: Scan{Runtime: "b"}},
		"stage like image":  {src: "FROM alpine AS alpine\nFROM alpine\n", want: Scan{Runtime: "alpine"}},
		"heredoc":           {src: "FROM a\nRUN <<EOF\nFROM b\nCOPY --from=c x y\nEOF\n", want: Scan{Runtime: "a"}},
		"copy heredoc":      {src: "FROM a\nCOPY --from=b <<EOF /x\nFROM c\nEOF\n", want: Scan{Runtime: "a", BuildTime: []string{"b"}}},
		"continuation":      {src: "FROM \\\n  a:1 \\\n  AS x\n", want: Scan{Runtime: "a:1"}},
		"comment between":   {src: "FROM \\\n# FROM c\n\n  a:1\n", want: Scan{Runtime: "a:1"}},
		"escape directive":  {src: "# escape=`\nARG V=`\n1\nFROM a:$V\n", want: Scan{Runtime: "a:1"}},
		"lower case":        {src: "from a as b\ncopy --from=c / /\n", want: Scan{Runtime: "a", BuildTime: []string{"c"}}},
		"same twice":        {src: "FROM a AS x\nFROM a\nCOPY --from=x / /\n", want: Scan{Runtime: "a"}},
		"same image":        {src: "FROM library/a AS x\nFROM docker.io/library/b AS y\nFROM a:latest\nCOPY --from=x / /\nCOPY --from=y / /\nCOPY --from=b / /\n", want: Scan{Runtime: "a:latest", BuildTime: []string{"docker.io/library/b"}}},
		"digest":            {src: "FROM " + digest + "\n", want: Scan{Runtime: digest}},
		"port":              {src: "FROM localhost:5000/a/b\n", want: Scan{Runtime: "localhost:5000/a/b"}},
		"onbuild alone":     {src: "FROM a\nONBUILD COPY --from=b / /\n", want: Scan{Runtime: "a"}},
		"onbuild copy":      {src: "FROM a AS base\nONBUILD COPY --from=b / /\nFROM base\n", want: Scan{Runtime: "a", BuildTime: []string{"b"}}},
		"onbuild mount":     {src: "FROM a AS base\nONBUILD RUN --mount=from=b,target=/b ls\nFROM base AS mid\nFROM mid\n", want: Scan{Runtime: "a", BuildTime: []string{"b"}}},
		"target stage arg":  {src: "FROM a:$TARGETSTAGE AS fin\n", want: Scan{Runtime: "a:fin"}},
		"byte order mark":   {src: "\ufeffFROM a\r\nCOPY --from=b / /\r\n", want: Scan{Runtime: "a", BuildTime: []string{"b"}}},
		"syntax":            {src: "# syntax=docker/dockerfile:1.7\nFROM a\n", want: Scan{Runtime: "a", Syntax: "docker/dockerfile:1.7"}},
		"add is no image":   {src: "FROM a\nADD https://example.com/x.git#v1 /x\n", want: Scan{Runtime: "a"}},
		"platform argument": {src: "FROM a-$TARGETARCH\n", o: Options{Platforms: []string{"linux/arm64"}}, want: Scan{Runtime: "a-arm64"}},
		"platform override": {src: "FROM a-$TARGETARCH\n", o: Options{BuildArgs: []string{"TARGETARCH=mine"}}, want: Scan{Runtime: "a-mine"}},
	}
}

func TestRead(t *testing.T) {
	for name, tt := range samples() {
		t.Run(name, func(t *testing.T) { tt.check(t) })
	}
}

func (tt sample) check(t *testing.T) {
	t.Helper()
	got, err := Read([]byte(tt.src), tt.o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&tt.want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Scan{}, "Platform")); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// TestContexts are those of --build-context; BuildKit needs a client for them.
func TestContexts(t *testing.T) {
	src := "FROM alpine AS base\nFROM base\nCOPY --from=assets / /\nRUN --mount=from=busybox,target=/b ls\n"
	for name, tt := range map[string]sample{
		"none":                 {want: Scan{Runtime: "alpine", BuildTime: []string{"assets", "busybox"}}},
		"image for image":      {o: Options{Contexts: []string{"alpine=docker-image://r.io/alpine:1"}}, want: Scan{Runtime: "r.io/alpine:1", BuildTime: []string{"assets", "busybox"}}},
		"image for stage":      {o: Options{Contexts: []string{"base=docker-image://r.io/base:1"}}, want: Scan{Runtime: "r.io/base:1", BuildTime: []string{"assets", "busybox"}}},
		"image for copy":       {o: Options{Contexts: []string{"assets=docker-image://r.io/assets:1"}}, want: Scan{Runtime: "alpine", BuildTime: []string{"r.io/assets:1", "busybox"}}},
		"any name of an image": {o: Options{Contexts: []string{"docker.io/library/busybox:latest=docker-image://b"}}, want: Scan{Runtime: "alpine", BuildTime: []string{"assets", "b"}}},
		"folder":               {o: Options{Contexts: []string{"assets=../assets"}}, want: Scan{Runtime: "alpine", BuildTime: []string{"busybox"}}},
		"repository for base":  {o: Options{Contexts: []string{"base=https://h/r.git", "busybox=docker-image://scratch"}}, want: Scan{BuildTime: []string{"assets"}}},
		"scratch stays":        {o: Options{Contexts: []string{"scratch=docker-image://x"}}, want: Scan{Runtime: "alpine", BuildTime: []string{"assets", "busybox"}}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.src = src
			tt.check(t)
		})
	}
}

func TestPlatforms(t *testing.T) {
	o := Options{Platforms: []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/amd64"}}
	src := []byte("FROM --platform=$BUILDPLATFORM golang AS b-amd64\nFROM --platform=$BUILDPLATFORM cross AS b-arm64\nFROM cross AS b-arm\n" +
		"FROM b-$TARGETARCH AS build\nFROM r-$TARGETOS\nCOPY --from=build / /\n")
	got, err := ReadPlatforms(src, o)
	if err != nil {
		t.Fatal(err)
	}
	want := []Scan{
		{Platform: "linux/amd64", Runtime: "r-linux", BuildTime: []string{"golang"}},
		{Platform: "linux/arm64", Runtime: "r-linux", BuildTime: []string{"cross"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	one, err := Read([]byte("FROM r-$TARGETARCH\nCOPY --from=x / /\n"), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Scan{Platform: "linux/amd64", Runtime: "r-amd64", BuildTime: []string{"x", "r-arm64", "r-arm"}}, one); diff != "" {
		t.Errorf("together: want (-), got (+):\n%s", diff)
	}
}

// TestReadErrors has what a user sees, whole.
func TestReadErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		src, want string
		o         Options
	}{
		"empty":   {"", "Dockerfile:1: file with no instructions", Options{}},
		"no from": {"ARG A=1\n", "Dockerfile: unexpected dockerfile format: no FROM", Options{}},
		"unknown instruction": {"FROM a\n\nFRMO bar\n", `Dockerfile:3: unknown instruction: FRMO (did you mean FROM?)
    3 | FRMO bar`, Options{}},
		"undefined": {"# a comment\nFROM $NOPE\n", `Dockerfile:2:6: FROM $NOPE: base name is blank: NOPE is not defined: write ARG NOPE=VALUE before the first FROM
    2 | FROM $NOPE
      |      ^`, Options{}},
		"undefined tag": {"FROM alpine:$NOPE\n", `Dockerfile:1:6: "alpine:" is no image: invalid reference format: NOPE is not defined: write ARG NOPE=VALUE before the first FROM
    1 | FROM alpine:$NOPE
      |      ^`, Options{}},
		"no value": {"ARG V\nFROM alpine:${V}\n", `sub/Dockerfile.x:2:6: "alpine:" is no image: invalid reference format: ARG V has no value: give it a default, or --build-arg V=VALUE
    2 | FROM alpine:${V}
      |      ^`, Options{Name: "sub/Dockerfile.x"}},
		"value without arg": {"FROM a:$V\n", `Dockerfile:1:6: "a:" is no image: invalid reference format: --build-arg V does not reach FROM: write ARG V before the first FROM
    1 | FROM a:$V
      |      ^`, Options{BuildArgs: []string{"V=1"}}},
		"arg inside a stage": {"FROM a\nARG V=1\nFROM b:$V\n", `Dockerfile:3:6: "b:" is no image: invalid reference format: ARG V is inside a stage, where FROM does not see it: move it before the first FROM
    3 | FROM b:$V
      |      ^`, Options{}},
		"required": {"ARG V\nFROM a:${V:?needed}\n", `Dockerfile:2:6: FROM a:${V:?needed}: failed to process "a:${V:?needed}": V: needed
    2 | FROM a:${V:?needed}
      |      ^`, Options{}},
		"open brace": {"FROM \\\n  ${A\n", `Dockerfile:2:3: FROM ${A: failed to process "${A": unsupported modifier (` + "\uFFFD" + `) in substitution
    2 |   ${A
      |   ^`, Options{}},
		"arg brace": {"ARG A=1 \\\n  B=${\nFROM a\n", `Dockerfile:2:3: ARG B: failed to process "${": syntax error: missing '}'
    2 |   B=${
      |   ^`, Options{}},
		"upper case": {"FROM Alpine\n", `Dockerfile:1:6: "Alpine" is no image: invalid reference format: repository name (library/Alpine) must be lowercase
    1 | FROM Alpine
      |      ^`, Options{}},
		"stage written otherwise": {"FROM a AS Base\nFROM Base\n", `Dockerfile:2:6: "Base" is no image: invalid reference format: repository name (library/Base) must be lowercase: did you mean the stage "base"?
    2 | FROM Base
      |      ^`, Options{}},
		"comment behind": {"FROM alpine AS x # comment\n", `Dockerfile:1: FROM requires either one or three arguments
    1 | FROM alpine AS x # comment`, Options{}},
		"platform": {"FROM --platform=linux/amd/64/x a\n", `Dockerfile:1:17: FROM --platform=linux/amd/64/x: "linux/amd/64/x": cannot parse platform specifier: invalid argument
    1 | FROM --platform=linux/amd/64/x a
      |                 ^`, Options{}},
		"empty platform": {"FROM --platform=$BUILDPLATFROM a\n", `Dockerfile:1:17: FROM --platform=$BUILDPLATFROM is empty: BUILDPLATFROM is not defined: write ARG BUILDPLATFROM=VALUE before the first FROM
    1 | FROM --platform=$BUILDPLATFROM a
      |                 ^`, Options{}},
		"target":        {"FROM a AS b\n", `Dockerfile: target stage "x" could not be found: the stages are b`, Options{Target: "x"}},
		"target number": {"FROM a\n", `Dockerfile: target stage "1" could not be found: no stage has a name`, Options{Target: "1"}},
		"no such stage": {"FROM a\nCOPY --from=7 / /\n", `Dockerfile:2:13: COPY --from=7: there is no such stage: they count from 0 to 0
    2 | COPY --from=7 / /
      |             ^`, Options{}},
		"later stage": {"FROM a\nRUN true\nCOPY --chown=1 \\\n  --from=Later / /\nFROM b AS later\n", `Dockerfile:4:10: stage "Later" is not there yet: it must end before the stage that takes from it
    4 |   --from=Later / /
      |          ^`, Options{Target: "0"}},
		"itself": {"FROM a AS b\nRUN --mount=from=b,target=/x ls\n", `Dockerfile:2:18: stage "b" is not there yet: it must end before the stage that takes from it
    2 | RUN --mount=from=b,target=/x ls
      |                  ^`, Options{}},
		"copy variable": {"ARG V=1\nFROM a\nCOPY --from=b:$V / /\n", `Dockerfile:3:13: from=b:$V: variables are not expanded here: name the image in a stage of its own, FROM b:$V AS ..., and take from that
    3 | COPY --from=b:$V / /
      |             ^`, Options{}},
		"mount variable": {"FROM a\nRUN --mount=from=b:$V,target=/x ls\n", `Dockerfile:2: 'from' doesn't support variable expansion, define alias stage instead
    2 | RUN --mount=from=b:$V,target=/x ls`, Options{}},
		"copy nonsense": {"FROM a\nCOPY --from=B:: / /\n", `Dockerfile:2:13: "B::" is no image: invalid reference format: repository name (library/B) must be lowercase
    2 | COPY --from=B:: / /
      |             ^`, Options{}},
		"onbuild from": {"FROM a\nONBUILD FROM b\n", `Dockerfile:2: FROM isn't allowed as an ONBUILD trigger
    2 | ONBUILD FROM b`, Options{}},
		"onbuild onbuild": {"FROM a\nONBUILD ONBUILD RUN b\n", "Dockerfile:2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed\n    2 | ONBUILD ONBUILD RUN b", Options{}},
		"onbuild nonsense": {"FROM a AS b\nONBUILD COPY --from=X: / /\nFROM b\n", `Dockerfile:2:21: "X:" is no image: invalid reference format: repository name (library/X) must be lowercase
    2 | ONBUILD COPY --from=X: / /
      |                     ^`, Options{}},
		"open heredoc": {"FROM a\nRUN <<EOF\nx\n", `Dockerfile:2: unterminated heredoc
    2 | RUN <<EOF`, Options{}},
		"foreign frontend": {"# syntax=evil/dockerfile:1\nFROM a\n", `Dockerfile:1:10: # syntax=evil/dockerfile:1 names a frontend that is not allowed: builds use the Dockerfile frontend that is built in (docker/dockerfile)
    1 | # syntax=evil/dockerfile:1
      |          ^`, Options{}},
		"context": {"FROM a\n", `build context "x": want NAME=VALUE`, Options{Contexts: []string{"x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read([]byte(tt.src), tt.o)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
			if fault := (*steps.Error)(nil); err != nil && name != "context" && !errors.As(err, &fault) {
				t.Errorf("a %T, want a *steps.Error", err)
			}
		})
	}
}

func TestSyntax(t *testing.T) {
	for src, ok := range map[string]bool{
		"FROM a\n":                               true,
		"# syntax=docker/dockerfile:1\nFROM a\n": true,
		"# syntax = docker.io/docker/dockerfile:1.7-labs\nFROM a\n": true,
		"# syntax=docker/dockerfile@sha256:aa\nFROM a\n":            true,
		"# syntax=127.0.0.1:5000/evil\nFROM a\n":                    false,
		"#syntax=evil/dockerfile\nFROM a\n":                         false,
		"#!/bin/x\n# syntax=evil/dockerfile\nFROM a\n":              false,
		"// syntax=evil/dockerfile\nFROM a\n":                       false,
		"{\"syntax\": \"evil/dockerfile\"}":                         false,
	} {
		_, err := Read([]byte(src), Options{})
		if refused := err != nil && strings.Contains(err.Error(), "frontend that is not allowed"); refused == ok {
			t.Errorf("%q: %v, want allowed=%v", src, err, ok)
		}
	}
}
