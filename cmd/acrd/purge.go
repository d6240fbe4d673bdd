package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"acrd/internal/acr"

	"github.com/spf13/pflag"
)

// A purgeForm is the flags of acr-cli's purge.
type purgeForm struct {
	filters                 []string
	ago                     string
	keep, concurrency, page int
	untagged, untaggedOnly  bool
	dryRun, includeLocked   bool
	filterTimeout           int
}

// maxPurges is acr-cli's bound on --concurrency.
const maxPurges = 32

func (f *purgeForm) define(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.filters, "filter", "f", nil, "which tags, REPOSITORY:TAG, both regular expressions; the one for the repository matches as a whole, the one for tags anywhere (repeat)")
	fs.StringVar(&f.ago, "ago", "", "only what has not changed for so long, as 1d2h30m")
	fs.IntVar(&f.keep, "keep", 0, "keep so many of the newest tags that would be removed, in each repository, and so many of the newest manifests")
	fs.BoolVar(&f.untagged, "untagged", false, "then delete manifests without tags, too, unless an index or a subject that stays has them")
	fs.BoolVar(&f.untaggedOnly, "untagged-only", false, "delete manifests without tags, and no tags")
	fs.BoolVar(&f.dryRun, "dry-run", false, "say what would be deleted, and delete nothing")
	fs.BoolVar(&f.includeLocked, "include-locked", false, "unlock what is locked, and delete it")
	fs.IntVar(&f.concurrency, "concurrency", runtime.GOMAXPROCS(0), fmt.Sprintf("how much to delete at a time, 1 to %d", maxPurges))
	fs.IntVar(&f.page, "repository-page-size", 100, "how much of a list to ask for at once")
	fs.IntVar(&f.filterTimeout, "filter-timeout-seconds", 60, "how long one name may take an expression")
}

// purge is what the flags ask for, or all that is wrong with them.
func (f *purgeForm) purge(out io.Writer) (*acr.Purge, error) {
	p := &acr.Purge{
		Out: out, Keep: f.keep, Untagged: f.untagged, UntaggedOnly: f.untaggedOnly, DryRun: f.dryRun,
		IncludeLocked: f.includeLocked, Concurrency: f.concurrency,
	}
	var wrong []string
	for _, check := range []struct {
		fault bool
		text  string
	}{
		{f.untagged && f.untaggedOnly, "give either --untagged or --untagged-only"},
		{len(f.filters) == 0 && !f.untaggedOnly, "--filter is required when not using --untagged-only"},
		{f.ago == "" && !f.untaggedOnly, "--ago is required when not using --untagged-only"},
		{f.keep < 0, "--keep: want a number from 0"},
	} {
		if check.fault {
			wrong = append(wrong, check.text)
		}
	}
	var err error
	if p.Ago, err = acr.ParseAgo(f.ago); err != nil {
		wrong = append(wrong, err.Error())
	}
	for _, text := range f.filters {
		filter, err := acr.ParseTagFilter(text, time.Duration(max(f.filterTimeout, 1))*time.Second)
		if err != nil {
			wrong = append(wrong, err.Error())
		}
		p.Filters = append(p.Filters, filter)
	}
	if len(wrong) > 0 {
		return nil, &usageError{strings.Join(wrong, "\n")}
	}
	if f.concurrency <= 0 {
		p.Concurrency = runtime.GOMAXPROCS(0)
		fmt.Fprintf(out, "Specified concurrency value invalid. Set to default value: %d \n", p.Concurrency)
	} else if f.concurrency > maxPurges {
		p.Concurrency = maxPurges
		fmt.Fprintf(out, "Specified concurrency value too large. Set to maximum value: %d \n", maxPurges)
	}
	return p, nil
}

func purge(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "purge --filter REPOSITORY:TAG --ago 1d2h [FLAGS]", `Remove old tags, and manifests that have none. 'cmd: acr purge ...' in a task
does the same, so that a task with a schedule keeps the registry tidy:

  acrd task create -n tidy -c /dev/null --schedule "0 1 * * *" \
    --cmd "acr purge --filter 'app:^ci-' --ago 7d --untagged"

Disk space comes back later: see 'acrd gc'.`)
	var form purgeForm
	form.define(fs)
	fs.StringP("registry", "r", "", "ignored: a daemon has one registry")
	_ = fs.MarkHidden("registry")
	where := serverFlags(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	p, err := form.purge(s.stdout)
	if err != nil {
		return err
	}
	conn, err := where.connect(ctx, s)
	if err != nil {
		return err
	}
	return conn.during(ctx, func() error {
		i, err := conn.Info(ctx)
		if err != nil {
			return err
		}
		p.Client, p.Registry = dataClient(conn), i.Registry
		p.Client.Page = form.page
		return p.Run(ctx)
	})
}
