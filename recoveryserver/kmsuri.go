package recoveryserver

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"

	"disk-mapper/internal/keys"
)

// parseKMSURI reads kms://cluster-kms?key=K&salt=S, both padded base64url and
// possibly escaped twice, as clients of v2.5 and later send it. Other key
// services are refused: the node would have to call servers of a stranger's
// choice. No part of uri appears in an error: it holds the master secret.
func parseKMSURI(uri string) (keys.MasterSecret, error) {
	parsed, err := url.Parse(uri)
	if err != nil {
		return keys.MasterSecret{}, errors.New("malformed URI")
	}
	if *parsed != (url.URL{Scheme: "kms", Host: "cluster-kms", RawQuery: parsed.RawQuery}) {
		return keys.MasterSecret{}, errors.New("only kms://cluster-kms with key and salt is served")
	}
	query, err := url.ParseQuery(parsed.RawQuery)
	if err != nil {
		return keys.MasterSecret{}, errors.New("malformed query")
	}
	return masterSecret(query)
}

func masterSecret(query url.Values) (keys.MasterSecret, error) {
	key, err := parameter(query, "key")
	if err != nil {
		return keys.MasterSecret{}, err
	}
	defer clear(key)
	salt, err := parameter(query, "salt")
	if err != nil {
		return keys.MasterSecret{}, err
	}
	if len(query) > 2 {
		return keys.MasterSecret{}, errors.New("unknown query parameter")
	}
	return keys.NewMasterSecret(key, salt)
}

func parameter(query url.Values, name string) ([]byte, error) {
	values := query[name]
	if len(values) == 0 || values[0] == "" {
		return nil, fmt.Errorf("missing query parameter %q", name)
	}
	unescaped, err := url.QueryUnescape(values[0]) // the second time; ParseQuery was the first
	if err != nil || len(values) > 1 {
		return nil, fmt.Errorf("malformed query parameter %q", name)
	}
	raw, err := base64.URLEncoding.DecodeString(unescaped)
	if err != nil {
		return nil, fmt.Errorf("query parameter %q is not base64url", name)
	}
	return raw, nil
}
