// Evaluates expressions by Prometheus' own engine over series in the notation of promtool's tests: JSON in, JSON out.
//
// promtool itself would do, and compiles for 7 minutes of processor time, most of it the service discovery of every cloud.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

type input struct {
	StepSeconds int64 `json:"stepSeconds"`
	Series      []struct {
		Series string `json:"series"`
		Values string `json:"values"`
	} `json:"series"`
	Expressions []string `json:"expressions"`
	// Each expression is evaluated at every step up to this one.
	UntilSeconds int64 `json:"untilSeconds"`
}

type sample struct {
	Labels map[string]string `json:"labels"`
	Value  float64           `json:"value"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var given input
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return err
	}
	language := parser.NewParser(parser.Options{})
	var stored memory
	for _, one := range given.Series {
		series, err := read(language, one.Series+" "+one.Values, given.StepSeconds)
		if err != nil {
			return fmt.Errorf("%s: %w", one.Series, err)
		}
		stored = append(stored, series)
	}
	slices.SortFunc(stored, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute, Parser: language})
	answers := make([][][]sample, len(given.Expressions))
	for index, expression := range given.Expressions {
		answers[index] = [][]sample{}
		for at := int64(0); at <= given.UntilSeconds; at += given.StepSeconds {
			found, err := evaluate(engine, stored, expression, at)
			if err != nil {
				return fmt.Errorf("%s: %w", expression, err)
			}
			answers[index] = append(answers[index], found)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func read(language parser.Parser, text string, step int64) (promql.Series, error) {
	metric, values, err := language.ParseSeriesDesc(text)
	series := promql.Series{Metric: metric}
	for index, value := range values {
		if !value.Omitted {
			series.Floats = append(series.Floats, promql.FPoint{T: int64(index) * step * 1000, F: value.Value})
		}
	}
	return series, err
}

func evaluate(engine *promql.Engine, stored memory, expression string, at int64) ([]sample, error) {
	query, err := engine.NewInstantQuery(context.Background(), stored, nil, expression, time.Unix(at, 0))
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result := query.Exec(context.Background())
	vector, err := result.Vector()
	if err != nil {
		return nil, err
	}
	found := []sample{}
	for _, one := range vector {
		found = append(found, sample{Labels: one.Metric.Map(), Value: one.F})
	}
	return found, nil
}

// All series, sorted by their labels; few enough to be looked through one by one.
type memory []promql.Series

func (stored memory) Querier(_, _ int64) (storage.Querier, error) { return stored, nil }

func (stored memory) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &seriesSet{index: -1}
	for _, one := range stored {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(one.Metric.Get(m.Name)) }) {
			found.series = append(found.series, one)
		}
	}
	return found
}

func (stored memory) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (stored memory) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (stored memory) Close() error { return nil }

type seriesSet struct {
	series []promql.Series
	index  int
}

func (set *seriesSet) Next() bool                        { set.index++; return set.index < len(set.series) }
func (set *seriesSet) At() storage.Series                { return promql.NewStorageSeries(set.series[set.index]) }
func (set *seriesSet) Err() error                        { return nil }
func (set *seriesSet) Warnings() annotations.Annotations { return nil }
