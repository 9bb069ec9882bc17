package flags

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestErrorsHideSecrets tests command lines that are rejected, and checks that the error shows no part of the password.
func TestErrorsHideSecrets(t *testing.T) {
	for _, args := range [][]string{
		{"http://bob:SECRET/pw@127.0.0.1:1/"},
		{"http://bob:SECRET?pw@127.0.0.1:1/"},
		{"http://bob:SECRET#pw@127.0.0.1:1/"},
		{"http://bob:SECRET:pw@SECRET@127.0.0.1:x/"},
		{"http://bob:SECRET%zz@127.0.0.1:1/"},
		{"http://bob:777777/SECRET@127.0.0.1:1/"},
		{"bob:SECRET/pw@127.0.0.1:1/"},
		{"ftp://bob:SECRET@127.0.0.1/"},
		{"http://127.0.0.1:1/", "http://bob:SECRET@127.0.0.1/"},
		{"http://127.0.0.1:1/", "-H=Authorization: SECRET"},
		{"http://127.0.0.1:1/", "-kAbob:SECRET"},
		{"http://127.0.0.1:1/", "-HAuthorization: SECRET"},
		{"-kAbob:SECRET", "http://127.0.0.1:1/"},
		{"-HAuthorization: SECRET", "http://127.0.0.1:1/"},
		{"-Cid=SECRET", "http://127.0.0.1:1/"},
		{"-abob:SECRET", "http://127.0.0.1:1/"},
		{"-H", "Authorization SECRET", "http://127.0.0.1:1/"},
		{"-H", "Authorization\tSECRET", "http://127.0.0.1:1/"},
		{"-A", "SECRET", "http://127.0.0.1:1/"},
		{"-C", "SECRET", "http://127.0.0.1:1/"},
		{"-n", "http://bob:SECRET@127.0.0.1:1/"},
		{"-verify=http://bob:SECRET@127.0.0.1:1/"},
		{"-rate", "bob:SECRET@127.0.0.1:1"},
		{"-compare", "http://bob:SECRET@127.0.0.1:1/"},
		{"-json", "http://bob:SECRET@127.0.0.1:1/"},
		{"-transport", "http://bob:SECRET@127.0.0.1:1/"},
	} {
		_, err := Parse(args)
		require.Error(t, err, args)
		for _, part := range []string{"SECRET", "pw", "777777"} {
			assert.NotContains(t, err.Error(), part)
		}
	}
}

func TestMaskPassword(t *testing.T) {
	for given, want := range map[string]string{
		"http://bob:a/b@c@host:80/x": "http://bob:xxxxx@host:80/x",
		"bob:a#b@host":               "bob:xxxxx@host",
		"bob:a://b@host":             "bob:xxxxx@host",
		"http://bob@host:80/":        "http://bob@host:80/",
		"http://host:99999/":         "http://host:99999/",
		"http://":                    "http://",
		"":                           "",
	} {
		assert.Equal(t, want, maskPassword(given))
	}
}
