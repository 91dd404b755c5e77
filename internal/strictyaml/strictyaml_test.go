package strictyaml

import "testing"

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a: 1":                       "",
		"":                           "",
		"---\na: 1\n...\n---\n# end": "",
		"a: 1\n---\na: 2":            "it holds several YAML documents, want one",
		"---\n---\na: 1":             "it holds several YAML documents, want one",
		"a: 1\n---\n{":               "it holds several YAML documents, want one",
		"a: 1\nb: 2":                 `error unmarshaling JSON: while decoding JSON: json: unknown field "b"`,
	} {
		var into struct {
			A int `json:"a"`
		}
		got := ""
		if err := Unmarshal([]byte(text), &into); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
