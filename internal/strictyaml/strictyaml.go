// Package strictyaml reads YAML files that a person wrote, into the JSON tags that types have
// anyway. What would be passed over without a word is an error: a key that the type does not
// have, and a second document.
package strictyaml

import (
	"bytes"
	"errors"
	"io"

	goyaml "go.yaml.in/yaml/v2"
	"sigs.k8s.io/yaml"
)

// Unmarshal reads one document into v.
func Unmarshal(data []byte, v any) error {
	if several(data) {
		return errors.New("it holds several YAML documents, want one")
	}
	return yaml.UnmarshalStrict(data, v)
}

// several says whether anything stands in another document than the first. What is wrong with
// that one is for others to say.
func several(data []byte) bool {
	documents := goyaml.NewDecoder(bytes.NewReader(data))
	for n := 0; ; n++ {
		var document any
		err := documents.Decode(&document)
		switch {
		case errors.Is(err, io.EOF):
			return false
		case n > 0 && (err != nil || document != nil):
			return true
		case err != nil:
			return false
		}
	}
}
