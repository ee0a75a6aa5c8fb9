// Evaluates expressions by Prometheus' own engine over series: in the notation of promtool's tests, or as they were scraped.
// JSON in, JSON out.
//
// promtool itself would do, and compiles for 7 minutes of processor time, most of it the service discovery of every cloud.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

type input struct {
	StepSeconds int64    `json:"stepSeconds"`
	Series      []given  `json:"series"`
	Expressions []string `json:"expressions"`
	// Each expression is evaluated at every step up to this one.
	UntilSeconds int64 `json:"untilSeconds"`
}

// One series: a value at each step in promtool's notation, or labels with a point for each scrape.
type given struct {
	Series string            `json:"series"`
	Values string            `json:"values"`
	Labels map[string]string `json:"labels"`
	Points []point           `json:"points"`
}

type point struct {
	Milliseconds int64 `json:"ms"`
	// Absent: the series was no longer there, which Prometheus stores as a mark of its own (staleness).
	Value *float64 `json:"value"`
}

type sample struct {
	Labels map[string]string `json:"labels"`
	// As in Prometheus' own answers a text, for JSON has no NaN.
	Value string `json:"value"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var asked input
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	language := parser.NewParser(parser.Options{})
	var stored memory
	for _, one := range asked.Series {
		series, err := one.read(language, asked.StepSeconds)
		if err != nil {
			return fmt.Errorf("%s: %w", one.Series, err)
		}
		stored = append(stored, series)
	}
	slices.SortFunc(stored, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute, Parser: language})
	answers := make([][][]sample, len(asked.Expressions))
	for index, expression := range asked.Expressions {
		answers[index] = [][]sample{}
		for at := int64(0); at <= asked.UntilSeconds; at += asked.StepSeconds {
			found, err := evaluate(engine, stored, expression, at)
			if err != nil {
				return fmt.Errorf("%s: %w", expression, err)
			}
			answers[index] = append(answers[index], found)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func (one given) read(language parser.Parser, step int64) (promql.Series, error) {
	if one.Labels != nil {
		series := promql.Series{Metric: labels.FromMap(one.Labels)}
		for _, scraped := range one.Points {
			seen := promql.FPoint{T: scraped.Milliseconds, F: math.Float64frombits(value.StaleNaN)}
			if scraped.Value != nil {
				seen.F = *scraped.Value
			}
			series.Floats = append(series.Floats, seen)
		}
		return series, nil
	}
	metric, values, err := language.ParseSeriesDesc(one.Series + " " + one.Values)
	series := promql.Series{Metric: metric}
	for index, told := range values {
		if !told.Omitted {
			series.Floats = append(series.Floats, promql.FPoint{T: int64(index) * step * 1000, F: told.Value})
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
		found = append(found, sample{Labels: one.Metric.Map(), Value: strconv.FormatFloat(one.F, 'g', -1, 64)})
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
