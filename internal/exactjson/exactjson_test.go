package exactjson

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type sample struct {
	Name  string         `json:"name"`
	Count int            `json:"count"`
	Raw   []byte         `json:"raw,omitempty"`
	Sub   map[string]sub `json:"sub,omitempty"`
}

type sub struct {
	On *bool `json:"on,omitempty"`
}

func TestUnmarshal(t *testing.T) {
	for name, tc := range map[string]struct{ raw, wantErr string }{
		"good":               {raw: ` {"name":"a","count":1} ` + "\n"},
		"good, nested":       {raw: `{"name":"a","count":1,"sub":{"x":{"on":false}}}`},
		"case variant alone": {raw: `{"Name":"a","count":1}`, wantErr: `"/Name" is unknown`},
		"case variant after": {raw: `{"name":"a","count":1,"NAME":"b"}`, wantErr: `"/NAME" is unknown`},
		"long s":             {raw: `{"name":"a","count":1,"ſub":{}}`, wantErr: "is unknown"},
		"duplicate":          {raw: `{"name":"a","name":"b","count":1}`, wantErr: `"name" occurs twice`},
		"escaped duplicate":  {raw: `{"name":"a","n\u0061me":"b","count":1}`, wantErr: `"name" occurs twice`},
		"nested duplicate":   {raw: `{"name":"a","count":1,"sub":{"x":{},"x":{}}}`, wantErr: `"x" occurs twice`},
		"unknown":            {raw: `{"name":"a","count":1,"more":1}`, wantErr: "more"},
		"missing":            {raw: `{"name":"a"}`, wantErr: `"/count" is missing`},
		"null":               {raw: `{"name":"a","count":1,"raw":null}`, wantErr: `"/raw" is unknown or empty`},
		"null bool":          {raw: `{"name":"a","count":1,"sub":{"x":{"on":null}}}`, wantErr: `on`},
		"float":              {raw: `{"name":"a","count":1.0}`, wantErr: "count"},
		"string for number":  {raw: `{"name":"a","count":"1"}`, wantErr: "count"},
		"newline in base64":  {raw: `{"name":"a","count":1,"raw":"AA\nAA"}`, wantErr: "/raw"},
		"trailing value":     {raw: `{"name":"a","count":1}{}`, wantErr: "followed by more data"},
		"trailing garbage":   {raw: `{"name":"a","count":1}x`, wantErr: "followed by more data"},
		"truncated":          {raw: `{"name":"a","count":`, wantErr: "malformed"},
		"empty":              {raw: ``, wantErr: "malformed"},
		"not an object":      {raw: `[]`, wantErr: "array"},
		"null document":      {raw: `null`, wantErr: "reads as"},
		"invalid UTF-8":      {raw: "{\"name\":\"\xff\",\"count\":1}", wantErr: "UTF-8"},
		"deep":               {raw: strings.Repeat("[", 3000), wantErr: "nested deeper"},
	} {
		t.Run(name, func(t *testing.T) {
			var v sample
			err := Unmarshal([]byte(tc.raw), &v)
			if tc.wantErr == "" {
				require.NoError(t, err)
				require.Equal(t, "a", v.Name)
				return
			}
			require.ErrorContains(t, err, tc.wantErr)
		})
	}
}
