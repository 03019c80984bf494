// linearizability - judges histories of the chaos runs by porcupine, with models of its own.
//
//	linearizability FILE...        one JSON object a line, as rig/history.py describes it
//
// Prints one JSON object with what was checked; exits 1 when a part of a history has no order that explains its answers (its
// operations go to standard error), 3 when a part could not be decided in time.
//
// An operation without an answer may have happened or not: its step leads to both states, so that to place it somewhere costs nothing,
// and its end is the latest moment at which it can have happened.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

const unitsOfStock = 5 // as rig/checker.py
const patience = 20 * time.Second

// One line of a history.
type entry struct {
	Model string          `json:"model"`
	Part  string          `json:"part"`
	Op    string          `json:"op"`
	Arg   string          `json:"arg"`
	Call  int64           `json:"call"`
	End   *int64          `json:"end"`
	Out   json.RawMessage `json:"out"`
}

func (e entry) unknown() bool { return len(e.Out) == 0 || string(e.Out) == "null" }

func (e entry) String() string {
	end := "open"
	if e.End != nil {
		end = fmt.Sprint(*e.End)
	}
	return fmt.Sprintf("%d..%s %s(%s) -> %s", e.Call, end, e.Op, e.Arg, e.Out)
}

// A step of a model: the state after the operation and the answer that it must give there.
type step func(state interface{}, e entry) (next interface{}, fits func(answer json.RawMessage) bool)

func model(start interface{}, s step) porcupine.Model {
	nondeterministic := porcupine.NondeterministicModel{
		Init: func() []interface{} { return []interface{}{start} },
		Step: func(state, input, _ interface{}) []interface{} {
			e := input.(entry)
			next, fits := s(state, e)
			if e.unknown() {
				return []interface{}{state, next}
			}
			if !fits(e.Out) {
				return nil
			}
			return []interface{}{bind(next, e.Out)}
		},
	}
	return nondeterministic.ToModel()
}

// ---- a stock: which purchase has which number ----

const cancelled = -1

// Index: the digits of "p7". 0: nothing known, cancelled, or the number.
type stock [16]int8

func purchaseOf(arg string) int {
	var n int
	if _, err := fmt.Sscanf(arg, "p%d", &n); err != nil || n >= len(stock{}) {
		panic("a purchase that the model does not know: " + arg)
	}
	return n
}

func (s stock) used() (taken [unitsOfStock + 1]bool, count int) {
	for _, number := range s {
		if number > 0 {
			taken[number] = true
			count++
		}
	}
	return taken, count
}

func (s stock) smallestFree() int8 {
	taken, _ := s.used()
	for number := int8(1); number <= unitsOfStock; number++ {
		if !taken[number] {
			return number
		}
	}
	return 0
}

func says(text string) func(json.RawMessage) bool {
	return func(answer json.RawMessage) bool { return string(answer) == text }
}

func saysNumber(n int) func(json.RawMessage) bool { return says(fmt.Sprint(n)) }

func stockStep(state interface{}, e entry) (interface{}, func(json.RawMessage) bool) {
	s := state.(stock)
	switch e.Op {
	case "reserve":
		p := purchaseOf(e.Arg)
		if s[p] == cancelled {
			return s, says(`"cancelled"`)
		}
		if s[p] == 0 {
			s[p] = s.smallestFree()
		}
		if s[p] == 0 {
			return s, says(`"sold-out"`)
		}
		return s, saysNumber(int(s[p]))
	case "release":
		s[purchaseOf(e.Arg)] = cancelled
		return s, says(`"gone"`)
	case "look":
		switch p := purchaseOf(e.Arg); {
		case s[p] == cancelled:
			return s, says(`"cancelled"`)
		case s[p] == 0:
			return s, says(`"nothing"`)
		default:
			return s, saysNumber(int(s[p]))
		}
	case "count":
		_, count := s.used()
		return s, saysNumber(count)
	}
	panic("an operation that the model does not know: " + e.Op)
}

// ---- an idempotency key: the body it belongs to, and its receipt once somebody has heard it ----

type key struct{ body, receipt string }

type keyAnswer struct {
	Receipt  string `json:"receipt"`
	Replayed bool   `json:"replayed"`
	Refused  bool   `json:"refused"`
}

func keyAnswerOf(answer json.RawMessage) keyAnswer {
	var a keyAnswer
	if err := json.Unmarshal(answer, &a); err != nil {
		panic(err)
	}
	return a
}

func keyStep(state interface{}, e entry) (interface{}, func(json.RawMessage) bool) {
	k := state.(key)
	if k.body == "" {
		return key{body: e.Arg}, func(answer json.RawMessage) bool {
			a := keyAnswerOf(answer)
			return !a.Refused && !a.Replayed && a.Receipt != ""
		}
	}
	return k, func(answer json.RawMessage) bool {
		a := keyAnswerOf(answer)
		if e.Arg != k.body {
			return a.Refused
		}
		return !a.Refused && a.Replayed && (k.receipt == "" || k.receipt == a.Receipt)
	}
}

// The first answer that names the receipt decides it.
func bind(state interface{}, answer json.RawMessage) interface{} {
	if k, ok := state.(key); ok && k.receipt == "" {
		k.receipt = keyAnswerOf(answer).Receipt
		return k
	}
	return state
}

// ---- a queue that takes each message id once ----

type once struct {
	ids    uint16 // a bit each
	others int    // without an id
}

func onceStep(state interface{}, e entry) (interface{}, func(json.RawMessage) bool) {
	o := state.(once)
	switch e.Op {
	case "publish":
		var n int
		if _, err := fmt.Sscanf(e.Arg, "m%d", &n); err != nil || n >= 16 {
			panic("a message id that the model does not know: " + e.Arg)
		}
		o.ids |= 1 << n
		return o, says(`"ok"`)
	case "add":
		o.others++
		return o, says(`"ok"`)
	case "count":
		return o, saysNumber(bits.OnesCount16(o.ids) + o.others)
	}
	panic("an operation that the model does not know: " + e.Op)
}

var models = map[string]porcupine.Model{
	"stock": model(stock{}, stockStep),
	"key":   model(key{}, keyStep),
	"once":  model(once{}, onceStep),
}

// ---- the program ----

func read(path string, parts map[[2]string][]entry) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return err
		}
		parts[[2]string{e.Model, e.Part}] = append(parts[[2]string{e.Model, e.Part}], e)
	}
	return lines.Err()
}

func check(name string, entries []entry) porcupine.CheckResult {
	operations := make([]porcupine.Operation, 0, len(entries))
	for i, e := range entries {
		end := int64(math.MaxInt64)
		if e.End != nil {
			end = *e.End
		}
		operations = append(operations, porcupine.Operation{ClientId: i, Input: e, Call: e.Call, Return: end})
	}
	return porcupine.CheckOperationsTimeout(models[name], operations, patience)
}

func show(part [2]string, entries []entry) {
	fmt.Fprintf(os.Stderr, "no order of these explains their answers (%s %s):\n", part[0], part[1])
	sort.Slice(entries, func(i, j int) bool { return entries[i].Call < entries[j].Call })
	for _, e := range entries {
		fmt.Fprintln(os.Stderr, " ", e)
	}
}

func main() {
	parts := map[[2]string][]entry{}
	for _, path := range os.Args[1:] {
		if err := read(path, parts); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	operations, code := 0, 0
	for part, entries := range parts {
		operations += len(entries)
		switch check(part[0], entries) {
		case porcupine.Illegal:
			show(part, entries)
			code = 1
		case porcupine.Unknown:
			fmt.Fprintf(os.Stderr, "not decided within %v: %s %s\n", patience, part[0], part[1])
			if code == 0 {
				code = 3
			}
		}
	}
	fmt.Printf("{\"parts\": %d, \"operations\": %d}\n", len(parts), operations)
	os.Exit(code)
}
