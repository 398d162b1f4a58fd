package exactjson

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"disk-mapper/internal/printable"

	"github.com/stretchr/testify/require"
)

type sample struct {
	Name  string          `json:"name"`
	Count int             `json:"count"`
	Raw   []byte          `json:"raw,omitempty"`
	Sub   map[string]sub  `json:"sub,omitempty"`
	List  []sub           `json:"list,omitempty"`
	Free  json.RawMessage `json:"free,omitempty"`
}

type sub struct {
	On *bool `json:"on,omitempty"`
}

func TestUnmarshal(t *testing.T) {
	for name, tc := range map[string]struct{ raw, wantErr string }{
		"good":                          {raw: ` {"name":"a","count":1} ` + "\n"},
		"good, nested":                  {raw: `{"name":"a","count":1,"sub":{"x":{"on":false}}}`},
		"case variant alone":            {raw: `{"Name":"a","count":1}`, wantErr: `"/Name" is unknown`},
		"case variant after":            {raw: `{"name":"a","count":1,"NAME":"b"}`, wantErr: `"/NAME" is unknown`},
		"long s":                        {raw: `{"name":"a","count":1,"ſub":{}}`, wantErr: "is unknown"},
		"duplicate":                     {raw: `{"name":"a","name":"b","count":1}`, wantErr: `"/name" occurs twice`},
		"escaped duplicate":             {raw: `{"name":"a","n\u0061me":"b","count":1}`, wantErr: `"/name" occurs twice`},
		"nested duplicate":              {raw: `{"name":"a","count":1,"sub":{"x":{},"x":{}}}`, wantErr: `"/sub/x" occurs twice`},
		"unknown":                       {raw: `{"name":"a","count":1,"more":1}`, wantErr: `"/more" is unknown`},
		"missing":                       {raw: `{"name":"a"}`, wantErr: `"/count" is missing`},
		"null":                          {raw: `{"name":"a","count":1,"raw":null}`, wantErr: `"/raw" is null`},
		"null bool":                     {raw: `{"name":"a","count":1,"sub":{"x":{"on":null}}}`, wantErr: `"/sub/x/on" is null`},
		"null in nullable":              {raw: `{"name":"a","count":1,"free":null}`},
		"null below nullable":           {raw: `{"name":"a","count":1,"free":{"x":[null]}}`},
		"null in an array":              {raw: `{"name":"a","count":1,"list":[{},null]}`, wantErr: `"/list/1" is null`},
		"unknown in an array":           {raw: `{"name":"a","count":1,"list":[{},{"ON":true}]}`, wantErr: `"/list/1/ON" is unknown`},
		"duplicate in what is kept raw": {raw: `{"name":"a","count":1,"free":{"x":1,"x":2}}`, wantErr: `"/free/x" occurs twice`},
		"bytes as an array":             {raw: `{"name":"a","count":1,"raw":[170]}`, wantErr: `"/raw" is not written as its value is`},
		"long number":                   {raw: `{"name":"a","count":` + strings.Repeat("9", 1000) + `}`, wantErr: `"/count" holds number 999`},
		"float":                         {raw: `{"name":"a","count":1.0}`, wantErr: "count"},
		"string for number":             {raw: `{"name":"a","count":"1"}`, wantErr: "count"},
		"newline in base64":             {raw: `{"name":"a","count":1,"raw":"AA\nAA"}`, wantErr: `"/raw" is not written as its value is`},
		"trailing value":                {raw: `{"name":"a","count":1}{}`, wantErr: "followed by more data"},
		"trailing garbage":              {raw: `{"name":"a","count":1}x`, wantErr: "followed by more data"},
		"truncated":                     {raw: `{"name":"a","count":`, wantErr: "malformed"},
		"empty":                         {raw: ``, wantErr: "malformed"},
		"not an object":                 {raw: `[]`, wantErr: "array"},
		"null document":                 {raw: `null`, wantErr: `"" is null`},
		"invalid UTF-8":                 {raw: "{\"name\":\"\xff\",\"count\":1}", wantErr: "UTF-8"},
		"deep":                          {raw: strings.Repeat("[", 3000), wantErr: "nested deeper"},
	} {
		t.Run(name, func(t *testing.T) {
			var v sample
			err := Unmarshal([]byte(tc.raw), &v, "free")
			if tc.wantErr == "" {
				require.NoError(t, err)
				require.Equal(t, "a", v.Name)
				return
			}
			require.ErrorContains(t, err, tc.wantErr)
			require.Less(t, len(err.Error()), printable.MaxText+128, "a peer decides how much is logged")
		})
	}
}

// FuzzFault: what is wrong is said in a few printable words, whoever wrote the names.
func FuzzFault(f *testing.F) {
	f.Add("\x1b[2J\r\nPushed recovery key.")
	f.Add("\u202e\u009b2J\u2028\xff")
	f.Fuzz(func(t *testing.T, text string) {
		name, err := json.Marshal(text)
		require.NoError(t, err)
		for _, raw := range []string{text, `{` + string(name) + `:1}`, `{"name":` + string(name) + `,"count":` + text + `}`, `{` + string(name) + `:1,` + string(name) + `:2}`} {
			var v sample
			if err := Unmarshal([]byte(raw), &v); err != nil {
				require.Less(t, len(err.Error()), printable.MaxError+128)
				for _, r := range err.Error() {
					require.True(t, unicode.IsPrint(r), "%q", r)
				}
			}
		}
	})
}
