package dockerfile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"acrd/steps"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const scratch = "scratch"

// An origin is what something comes from: an earlier stage, or an image. The
// empty image with no stage is scratch, or files that are no image.
type origin struct {
	stage int // -1: none
	image string
}

// graph is what each stage needs, for one platform.
type graph struct {
	*file
	env     map[string]string
	names   map[string]int // of stages, lower case
	base    []origin
	needs   [][]origin // beside the base
	replace []bool     // a named context stands for the stage
	// triggers are the ONBUILDs of a stage that others start from; fired
	// counts them for each of those.
	triggers map[int][]trigger
	fired    int
}

// scan finds the images of the target stage for one platform.
func (f *file) scan(p ocispecs.Platform) (*Scan, error) {
	env, err := f.environment(p)
	if err != nil {
		return nil, err
	}
	n := len(f.stages)
	g := &graph{
		file: f, env: env, names: map[string]int{}, triggers: map[int][]trigger{},
		base: make([]origin, n), needs: make([][]origin, n), replace: make([]bool, n),
	}
	for i := range f.stages {
		if err := g.addBase(i); err != nil {
			return nil, err
		}
	}
	for i := range f.stages {
		if err := g.addNeeds(i); err != nil {
			return nil, err
		}
	}
	target, err := g.find()
	if err != nil {
		return nil, err
	}
	s := &Scan{Platform: platforms.Format(p), Runtime: g.origin(target), Syntax: f.syntax}
	s.BuildTime, err = g.images(target, s.Runtime)
	return s, err
}

// addBase reads FROM. A base is a stage only if its name is written as BuildKit
// keeps it, in lower case.
func (g *graph) addBase(i int) error {
	s := &g.stages[i]
	name, err := g.named(s, s.BaseName, g.env)
	if err != nil {
		return err
	}
	if err := g.platform(s, g.env); err != nil {
		return err
	}
	image, isContext := "", false
	if s.Name != "" {
		image, isContext = g.context(s.Name)
	}
	if isContext {
		g.base[i], g.replace[i] = origin{-1, image}, true
	} else if g.base[i], err = g.resolve(s.Location, s.BaseName, name, g.stage(name)); err != nil {
		return err
	}
	if s.Name != "" {
		g.names[s.Name] = i
	}
	return nil
}

// stage is the one that has this name so far, or -1.
func (g *graph) stage(name string) int {
	if i, ok := g.names[name]; ok {
		return i
	}
	return -1
}

// resolve says what a name means that is that of a stage, or else of an image.
func (g *graph) resolve(where []parser.Range, written, name string, stage int) (origin, error) {
	if stage >= 0 {
		return origin{stage: stage}, nil
	}
	if name == scratch {
		return origin{stage: -1}, nil
	}
	if err := g.checkImage(where, written, name); err != nil {
		return origin{}, err
	}
	if image, ok := g.context(name); ok {
		return origin{-1, image}, nil
	}
	return origin{-1, name}, nil
}

func (g *graph) checkImage(where []parser.Range, written, name string) *steps.Error {
	_, err := reference.ParseNormalizedNamed(name)
	if err == nil {
		return nil
	}
	msg := fmt.Sprintf("%q is no image: %v", shorten(name, maxShown), err)
	if i := g.stage(strings.ToLower(name)); i >= 0 {
		msg += fmt.Sprintf(": did you mean the stage %q?", g.stages[i].Name)
	}
	_, unset, _ := g.expand(written, g.env)
	return g.fault(where, written, msg+g.advice(unset))
}

// addNeeds reads what a stage copies and mounts, and before that what the
// stage below it leaves to it with ONBUILD.
func (g *graph) addNeeds(i int) error {
	if b := g.base[i].stage; b >= 0 {
		triggers, err := g.triggersOf(b)
		if err != nil {
			return err
		}
		for _, t := range triggers {
			if err := g.addSources(i, t.held, t.where); err != nil {
				return err
			}
		}
	}
	for _, c := range g.stages[i].Commands {
		if err := g.addSources(i, c, nil); err != nil {
			return err
		}
	}
	return nil
}

// A trigger is the instruction that an ONBUILD holds.
type trigger struct {
	held  instructions.Command
	where []parser.Range
}

// triggersOf reads those of a stage, once.
func (g *graph) triggersOf(i int) ([]trigger, error) {
	all, known := g.triggers[i]
	if !known {
		for _, c := range g.stages[i].Commands {
			if onbuild, ok := c.(*instructions.OnbuildCommand); ok {
				held, err := g.triggered(onbuild)
				if err != nil {
					return nil, err
				}
				all = append(all, trigger{held, onbuild.Location()})
			}
		}
		g.triggers[i] = all
	}
	if g.fired += len(all); g.fired > maxTriggers {
		return nil, g.fault(g.stages[i].Location, "", fmt.Sprintf("more than %d ONBUILD instructions are carried out", maxTriggers))
	}
	return all, nil
}

func (g *graph) triggered(c *instructions.OnbuildCommand) (instructions.Command, error) {
	tree, err := parser.Parse(strings.NewReader(c.Expression))
	if err == nil && len(tree.AST.Children) != 1 {
		err = errors.New("not one instruction")
	}
	if err != nil {
		return nil, g.fault(c.Location(), "", "ONBUILD: "+err.Error())
	}
	held, err := instructions.ParseCommand(tree.AST.Children[0])
	if err != nil {
		return nil, g.fault(c.Location(), "", "ONBUILD: "+err.Error())
	}
	return held, nil
}

// addSources notes the stages and images behind COPY --from and RUN --mount.
// An instruction that ONBUILD holds is where the ONBUILD is.
func (g *graph) addSources(i int, c instructions.Command, onbuild []parser.Range) error {
	where := onbuild
	if l, ok := c.(located); ok && len(where) == 0 {
		where = l.Location()
	}
	for _, name := range froms(c) {
		o, err := g.source(c, where, name)
		if err != nil {
			return err
		}
		g.needs[i] = append(g.needs[i], o)
	}
	return nil
}

type located interface{ Location() []parser.Range }

// froms are the names that an instruction takes files from.
func froms(c instructions.Command) []string {
	var names []string
	switch c := c.(type) {
	case *instructions.CopyCommand:
		names = []string{c.From}
	case *instructions.RunCommand:
		for _, m := range instructions.GetMounts(c) {
			names = append(names, m.From)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// source is what one --from means. COPY may count stages from 0.
func (g *graph) source(c instructions.Command, where []parser.Range, name string) (origin, error) {
	if strings.ContainsRune(name, '$') {
		return origin{}, g.fault(where, name, fmt.Sprintf("from=%s: variables are not expanded here: name the image in a stage of its own, FROM %s AS ..., and take from that", name, name))
	}
	if j, ok := g.names[strings.ToLower(name)]; ok {
		return origin{stage: j}, nil
	}
	j, err := strconv.Atoi(name)
	if _, isCopy := c.(*instructions.CopyCommand); !isCopy || err != nil {
		return g.resolve(where, name, name, -1)
	}
	if j < 0 || j >= len(g.stages) {
		return origin{}, g.fault(where, name, fmt.Sprintf("COPY --from=%d: there is no such stage: they count from 0 to %d", j, len(g.stages)-1))
	}
	return origin{stage: j}, nil
}

// find is the number of the target stage.
func (g *graph) find() (int, error) {
	if g.target == "" {
		return len(g.stages) - 1, nil
	}
	if i, ok := g.names[strings.ToLower(g.target)]; ok {
		return i, nil
	}
	if i, err := strconv.Atoi(g.target); err == nil && i >= 0 && i < len(g.stages) {
		return i, nil
	}
	return 0, &steps.Error{File: g.name, Msg: fmt.Sprintf("target stage %q could not be found%s", g.target, g.stageList())}
}

func (g *graph) stageList() string {
	var names []string
	for _, s := range g.stages {
		if s.Name != "" && len(names) < 20 {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return ": no stage has a name"
	}
	return ": the stages are " + strings.Join(names, ", ")
}

// origin follows FROM to the image at its end.
func (g *graph) origin(i int) string {
	for g.base[i].stage >= 0 {
		i = g.base[i].stage
	}
	return g.base[i].image
}

// images are what the target needs beside runtime: depth first, in the order
// of the file.
func (g *graph) images(target int, runtime string) ([]string, error) {
	list := imageList{skip: runtime}
	visited := make([]bool, len(g.stages))
	type visit struct {
		stage int
		rest  []origin // nil: not begun
	}
	stack := []visit{{stage: target, rest: g.all(target)}}
	visited[target] = true
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if len(top.rest) == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		next := top.rest[0]
		top.rest = top.rest[1:]
		if next.stage < 0 {
			list.add(next.image)
			continue
		}
		if next.stage >= top.stage {
			return nil, g.early(top.stage, next.stage)
		}
		if !visited[next.stage] {
			visited[next.stage] = true
			stack = append(stack, visit{stage: next.stage, rest: g.all(next.stage)})
		}
	}
	return list.refs, nil
}

// all are the base of a stage and what it needs.
func (g *graph) all(i int) []origin {
	if g.replace[i] {
		return []origin{g.base[i]}
	}
	return append([]origin{g.base[i]}, g.needs[i]...)
}

// early is the fault of a stage that needs one that is not there yet.
func (g *graph) early(stage, needed int) error {
	name := g.stages[needed].Name
	if name == "" {
		name = strconv.Itoa(needed)
	}
	for _, c := range g.stages[stage].Commands {
		for _, from := range froms(c) {
			if strings.EqualFold(from, name) || from == strconv.Itoa(needed) {
				return g.fault(c.(located).Location(), from, fmt.Sprintf("stage %q is not there yet: it must end before the stage that takes from it", from))
			}
		}
	}
	return g.fault(g.stages[stage].Location, "", fmt.Sprintf("needs stage %q, which is not there yet", name))
}

// imageList has each image once, under whatever name it came first.
type imageList struct {
	skip string
	refs []string
	seen map[string]bool
}

func (l *imageList) add(ref string) {
	if l.seen == nil {
		l.seen = map[string]bool{familiar(l.skip): true, "": true}
	}
	if name := familiar(ref); !l.seen[name] {
		l.seen[name] = true
		l.refs = append(l.refs, ref)
	}
}
