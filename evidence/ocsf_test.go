package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
)

// ocsfSchemas are where OCSF's own sources lie: an excerpt that comes with the
// repository, and all of them where they lie beside it.
func ocsfSchemas(t *testing.T) map[string]*ocsfRules {
	out := map[string]*ocsfRules{"excerpt": readOCSF(t, "testdata/ocsf")}
	if _, err := os.Stat("../../shared/ocsf"); err == nil {
		out["all"] = readOCSF(t, "../../shared/ocsf")
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}

// ocsfRules is a schema with our extension: classes and objects with all that they
// inherit and include, and the dictionary.
type ocsfRules struct {
	root       string
	attributes map[string]ocsfRule
	types      map[string]ocsfDataType
	objects    map[string]ocsfShape
}

type ocsfRule struct {
	Requirement string                     `json:"requirement"`
	Type        string                     `json:"type"`
	Array       bool                       `json:"is_array"`
	Enum        map[string]json.RawMessage `json:"enum"`
}

type ocsfDataType struct {
	Type   string  `json:"type"`
	Regex  string  `json:"regex"`
	Range  []int64 `json:"range"`
	MaxLen int     `json:"max_len"`
}

type ocsfShape struct {
	Name        string                     `json:"name"`
	UID         int                        `json:"uid"`
	Category    string                     `json:"category"`
	Extends     string                     `json:"extends"`
	Attributes  map[string]json.RawMessage `json:"attributes"`
	Constraints map[string][]string        `json:"constraints"`
	rules       map[string]ocsfRule
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

const ourExtension = "../docs/format/ocsf"

func readOCSF(t *testing.T, root string) *ocsfRules {
	t.Helper()
	s := &ocsfRules{root: root, attributes: make(map[string]ocsfRule), types: make(map[string]ocsfDataType), objects: make(map[string]ocsfShape)}
	for _, dir := range []string{root, ourExtension} {
		var d struct {
			Attributes map[string]ocsfRule `json:"attributes"`
			Types      struct {
				Attributes map[string]ocsfDataType `json:"attributes"`
			} `json:"types"`
		}
		readJSON(t, filepath.Join(dir, "dictionary.json"), &d)
		for name := range d.Attributes {
			if _, twice := s.attributes[name]; twice {
				t.Fatalf("%s: attribute %s is OCSF's own", dir, name)
			}
		}
		maps.Copy(s.attributes, d.Attributes)
		maps.Copy(s.types, d.Types.Attributes)
		names, err := filepath.Glob(filepath.Join(dir, "objects", "*.json"))
		must(t, err)
		for _, name := range names {
			s.objects[strings.TrimSuffix(filepath.Base(name), ".json")] = s.shape(t, name)
		}
	}
	return s
}

// shape reads a class or an object and what it extends. Profiles are taken in where the
// event names them.
func (s *ocsfRules) shape(t *testing.T, path string) ocsfShape {
	t.Helper()
	var out ocsfShape
	readJSON(t, path, &out)
	out.rules = make(map[string]ocsfRule)
	if out.Extends != "" {
		parent := filepath.Join(filepath.Dir(path), out.Extends+".json")
		if _, err := os.Stat(parent); err != nil {
			parent = filepath.Join(s.root, map[bool]string{true: "objects", false: "events"}[strings.Contains(path, "objects")], out.Extends+".json")
		}
		base := s.shape(t, parent)
		maps.Copy(out.rules, base.rules)
		if out.Constraints == nil {
			out.Constraints = base.Constraints
		}
		if out.Category == "" {
			out.Category = base.Category
		}
	}
	s.take(t, out.rules, out.Attributes)
	return out
}

// take adds attributes to what was inherited.
func (s *ocsfRules) take(t *testing.T, into map[string]ocsfRule, attributes map[string]json.RawMessage) {
	for name, raw := range attributes {
		if name == "$include" {
			continue
		}
		r := into[name]
		own := r.Enum
		must(t, json.Unmarshal(raw, &r))
		if own != nil {
			merged := maps.Clone(own)
			maps.Copy(merged, r.Enum)
			r.Enum = merged
		}
		into[name] = r
	}
}

// event checks one event of class Network Activity, and returns all that is wrong.
func (s *ocsfRules) event(t *testing.T, e map[string]any) []string {
	class := s.shape(t, filepath.Join(s.root, "events/network/network_activity.json"))
	meta, _ := e["metadata"].(map[string]any)
	profiles, _ := meta["profiles"].([]any)
	for _, p := range profiles {
		path := filepath.Join(s.root, "profiles", p.(string)+".json")
		if name, ours := strings.CutPrefix(p.(string), "whichpod/"); ours {
			path = filepath.Join(ourExtension, "profiles", name+".json")
		}
		var profile ocsfShape
		readJSON(t, path, &profile)
		s.take(t, class.rules, profile.Attributes)
	}
	var categories ocsfShape
	readJSON(t, filepath.Join(s.root, "categories.json"), &categories)
	var category ocsfShape
	must(t, json.Unmarshal(categories.Attributes[class.Category], &category))
	var problems []string
	number := func(name string) int { n, _ := e[name].(json.Number).Int64(); return int(n) }
	uid := category.UID*1000 + class.UID
	if number("class_uid") != uid || number("category_uid") != category.UID || number("type_uid") != uid*100+number("activity_id") {
		problems = append(problems, fmt.Sprintf("class %v, category %v, type %v do not fit", e["class_uid"], e["category_uid"], e["type_uid"]))
	}
	// A class's own numbers are computed, and stand in no enum of the sources.
	for _, name := range []string{"class_uid", "category_uid"} {
		r := class.rules[name]
		r.Enum = nil
		class.rules[name] = r
	}
	return append(problems, s.object("", e, class)...)
}

func (s *ocsfRules) object(at string, o map[string]any, shape ocsfShape) []string {
	var problems []string
	for name, r := range shape.rules {
		if _, ok := o[name]; !ok && r.Requirement == "required" {
			problems = append(problems, at+name+" is required")
		}
	}
	if one := shape.Constraints["at_least_one"]; one != nil && !slices.ContainsFunc(one, func(name string) bool { _, ok := o[name]; return ok }) {
		problems = append(problems, fmt.Sprintf("%swants one of %v", at, one))
	}
	for name, v := range o {
		r, ok := shape.rules[name]
		if !ok {
			problems = append(problems, fmt.Sprintf("%s%s is no attribute of %s", at, name, shape.Name))
			continue
		}
		entry, ok := s.attributes[name]
		if !ok {
			problems = append(problems, at+name+" is in no dictionary")
			continue
		}
		if r.Enum == nil {
			r.Enum = entry.Enum
		} else if entry.Enum != nil {
			merged := maps.Clone(entry.Enum)
			maps.Copy(merged, r.Enum)
			r.Enum = merged
		}
		values := []any{v}
		if list, is := v.([]any); is != entry.Array {
			problems = append(problems, fmt.Sprintf("%s%s: list is %v, want %v", at, name, is, entry.Array))
			continue
		} else if is {
			values = list
		}
		for _, v := range values {
			problems = append(problems, s.value(at+name, v, entry.Type, r.Enum)...)
		}
	}
	return problems
}

func (s *ocsfRules) value(at string, v any, typ string, enum map[string]json.RawMessage) []string {
	if typ == "object" {
		if _, ok := v.(map[string]any); !ok {
			return []string{at + " is no object"}
		}
		return nil // anything goes in unmapped
	}
	if shape, ok := s.objects[typ]; ok {
		o, ok := v.(map[string]any)
		if !ok {
			return []string{at + " is no object"}
		}
		return s.object(at+".", o, shape)
	}
	data, ok := s.types[typ]
	if !ok {
		return []string{fmt.Sprintf("%s is of type %s, which is nowhere", at, typ)}
	}
	base := typ
	if data.Type != "" {
		base = data.Type
	}
	text := fmt.Sprint(v)
	switch base {
	case "string_t":
		if _, ok := v.(string); !ok {
			return []string{at + " is no text"}
		}
	case "integer_t", "long_t":
		n, ok := v.(json.Number)
		if !ok {
			return []string{at + " is no number"}
		}
		i, err := n.Int64()
		if err != nil || (base == "integer_t" && int64(int32(i)) != i) || (data.Range != nil && (i < data.Range[0] || i > data.Range[1])) {
			return []string{fmt.Sprintf("%s is %s, out of range", at, n)}
		}
	default:
		return []string{fmt.Sprintf("%s is of type %s, which this test does not know", at, base)}
	}
	if enum != nil {
		if _, ok := enum[text]; !ok {
			return []string{fmt.Sprintf("%s is %s, which is not in its enum", at, text)}
		}
	}
	if data.MaxLen > 0 && len(text) > data.MaxLen {
		return []string{fmt.Sprintf("%s has %d characters, want at most %d", at, len(text), data.MaxLen)}
	}
	if data.Regex != "" && !regexp.MustCompile(data.Regex).MatchString(text) {
		return []string{fmt.Sprintf("%s is %q, which is no %s", at, text, typ)}
	}
	return nil
}

func ocsfEvents(t *testing.T, data []byte) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range bytes.Lines(data) {
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		var e map[string]any
		must(t, d.Decode(&e))
		out = append(out, e)
	}
	return out
}

// Every row is a valid event of OCSF's class 4001 with our extension.
func TestOCSFIsValid(t *testing.T) {
	t.Parallel()
	events := ocsfEvents(t, export(t, engine(t), "ocsf", 0, 0))
	if len(events) != 6 {
		t.Fatalf("%d events, want 6", len(events))
	}
	for name, schema := range ocsfSchemas(t) {
		for i, e := range events {
			for _, p := range schema.event(t, e) {
				t.Errorf("%s: event %d: %s", name, i, p)
			}
		}
	}
}

// The check notices what is wrong.
func TestOCSFCheckNotices(t *testing.T) {
	t.Parallel()
	good := export(t, engine(t), "ocsf", 0, 0)
	schema := readOCSF(t, "testdata/ocsf")
	for want, change := range map[string]func(e map[string]any){
		"time is required":                   func(e map[string]any) { delete(e, "time") },
		"src_attribution is required":        func(e map[string]any) { delete(e, "src_attribution") },
		"wants one of":                       func(e map[string]any) { delete(e, "src_endpoint"); delete(e, "dst_endpoint") },
		"pod is no attribute of":             func(e map[string]any) { e["pod"] = "x" },
		"activity_id is 9":                   func(e map[string]any) { e["activity_id"], e["type_uid"] = json.Number("9"), json.Number("400109") },
		"do not fit":                         func(e map[string]any) { e["type_uid"] = json.Number("400199") },
		"src_attribution.verdict is perhaps": func(e map[string]any) { e["src_attribution"].(map[string]any)["verdict"] = "perhaps" },
		"src_endpoint.ip is":                 func(e map[string]any) { e["src_endpoint"].(map[string]any)["ip"] = "here" },
		"src_endpoint.port is 65536":         func(e map[string]any) { e["src_endpoint"].(map[string]any)["port"] = json.Number("65536") },
		"metadata.product.name is no text": func(e map[string]any) {
			e["metadata"].(map[string]any)["product"] = map[string]any{"name": json.Number("1")}
		},
		"connection_info.direction_id is requ": func(e map[string]any) { e["connection_info"] = map[string]any{} },
	} {
		e := ocsfEvents(t, good)[0]
		change(e)
		if got := strings.Join(schema.event(t, e), "; "); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// What an event says is what the row says.
func TestOCSFEvent(t *testing.T) {
	t.Parallel()
	data := string(export(t, engine(t), "ocsf", 0, 0))
	for _, want := range []string{
		`"activity_id":5,"category_uid":4,"class_uid":4001,"type_uid":400105,"severity_id":1,"time":1795428610000,"action_id":2,"disposition_id":2`,
		`"traffic":{"bytes_in":9223372036854775807`, // never: it is beyond a long
		`"traffic":{"bytes_out":2,"packets":4,"packets_in":3,"packets_out":1}`,
		`"src_endpoint":{"ip":"10.244.0.9","port":4000,"name":"api \"7\", <odd>","uid":"a","interface_uid":"000D3A00000A"}`,
		`"src_attribution":{"verdict":"masked","cluster":"prod","node_name":"n","candidate_uids":["a"],"ledger_source":"watch"}`,
		`"kube_namespace":"web","pod_name":"api \"7\", <odd>","pod_uid":"a","node_name":"n","candidate_uids":["a"],"ledger_source":"watch","held_from_earliest":1795428010000,"held_from_latest":1795428011000,"held_to_earliest":1795428500000,"held_to_latest":1795428620000`,
		`"uid":"y=2026/PT1H.json#610"`,
	} {
		if strings.Contains(data, want) == strings.Contains(want, "922337") {
			t.Errorf("output has it: %v: %s", strings.Contains(data, want), want)
		}
	}
	if t.Failed() {
		t.Log(data)
	}
}

// The Parquet form holds the same events.
func TestOCSFParquet(t *testing.T) {
	t.Parallel()
	e := engine(t)
	lines := ocsfEvents(t, export(t, e, "ocsf", 0, 0))
	table := readTable(t, export(t, e, "ocsf-parquet", 0, 0))
	defer table.Release()
	records := array.NewTableReader(table, 0)
	defer records.Release()
	var got []map[string]any
	for records.Next() {
		raw, err := records.Record().MarshalJSON()
		must(t, err)
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var list []map[string]any
		must(t, d.Decode(&list))
		got = append(got, list...)
	}
	if len(got) != len(lines) {
		t.Fatalf("%d events, want %d", len(got), len(lines))
	}
	for i := range lines {
		if want, have := canonical(t, lines[i]), canonical(t, got[i]); want != have {
			t.Errorf("event %d:\n-lines   %s\n+parquet %s", i, want, have)
		}
	}
}

// canonical is JSON with sorted keys and without nulls.
func canonical(t *testing.T, v any) string {
	t.Helper()
	var strip func(v any) any
	strip = func(v any) any {
		if o, ok := v.(map[string]any); ok {
			out := make(map[string]any)
			for k, v := range o {
				if v != nil {
					out[k] = strip(v)
				}
			}
			return out
		}
		return v
	}
	raw, err := json.Marshal(strip(v))
	must(t, err)
	return string(raw)
}

// Timesketch asks for a message, a time and what the time is of.
func TestTimesketch(t *testing.T) {
	t.Parallel()
	data := export(t, engine(t), "timesketch", 0, 0)
	for i, e := range ocsfEvents(t, data) {
		at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(e["datetime"]))
		if err != nil || at.Format("2006-01-02T15:04:05.000Z") != e["time"] || e["message"] == "" || e["timestamp_desc"] == "" {
			t.Errorf("event %d: %v %v", i, e, err)
		}
	}
	for _, want := range []string{
		`{"message":"10.224.0.4:1035 (masked, 1 candidates) -> 203.0.113.66:443 (external)","datetime":"2026-11-23T10:02:50.000Z","timestamp_desc":"Flow began",`,
		`{"message":"10.244.0.9:5000 (boundary, 2 candidates) -> [2001:db8::1]:443 (external)","datetime":"2026-11-23T10:10:10.000Z","timestamp_desc":"Flow was denied",`,
		`(web/db-0)"`,
	} {
		if !bytes.Contains(data, []byte(want)) {
			t.Errorf("no %s in\n%s", want, data)
		}
	}
}

// A spreadsheet takes no field for a formula, and what it was can be told.
func TestInertFields(t *testing.T) {
	for _, field := range []string{"", "web/api", "10.244.0.9", "2001:db8::1", "2026-11-23T10:00:00.000Z", "0", "a=1", "NX"} {
		if got := inert(field); got != field {
			t.Errorf("%q became %q", field, got)
		}
	}
	for _, field := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'quoted", "\uff1d1", "=cmd|' /C calc'!A0"} {
		if got := inert(field); got != "'"+field {
			t.Errorf("%q became %q", field, got)
		}
	}
}
