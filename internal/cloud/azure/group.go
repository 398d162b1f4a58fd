package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"disk-mapper/internal/cloud"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// group is the resource group of this node's cluster, with what it takes to ask
// for its parts.
type group struct {
	subscription, name string
	uid                string
	marks              marks
	credential         token
	options            *arm.ClientOptions
}

// group learns from the metadata service where this node is, and who.
func (c *Client) group(ctx context.Context) (group, error) {
	own, err := c.own(ctx)
	if err != nil {
		return group{}, err
	}
	uid, err := own.uid(c.marks.uid)
	if err != nil {
		return group{}, err
	}
	options := azcore.ClientOptions{Transport: c.http, Retry: retry}
	token, err := askToken(ctx, options)
	if err != nil {
		return group{}, fmt.Errorf("asking for a token of the managed identity: %w", err)
	}
	return group{
		subscription: own.id.SubscriptionID,
		name:         own.id.ResourceGroupName,
		uid:          uid,
		marks:        c.marks,
		credential:   token,
		// Registering a resource provider is a change, which is not ours to make.
		options: &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true},
	}, nil
}

// askToken uses the managed identity of the machine and nothing else. The default
// chain of the SDK would first look for secrets in the environment and for tools in
// the path, which an initrd has not. The machines of a cluster have one
// user-assigned identity; the metadata service takes it if no other is named.
func askToken(ctx context.Context, options azcore.ClientOptions) (token, error) {
	identity, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: options})
	if err != nil {
		return token{}, err
	}
	got, err := identity.GetToken(ctx, policy.TokenRequestOptions{
		Scopes: []string{azcloud.AzurePublic.Services[azcloud.ResourceManager].Audience + "/.default"},
		// With claims the SDK does not take the token that it has kept: one that is
		// refused it would keep for as long as whoever sent it said.
		Claims: "{}",
	})
	return token(got), short(err)
}

// token is good for one call of Metadata.
type token azcore.AccessToken

func (t token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken(t), nil
}

// retry once, soon: the next round comes anyway. A longer Retry-After ends the call.
var retry = policy.RetryOptions{MaxRetries: 1, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 3 * time.Second}

// all are the items of a list, of at most cloud.MaxPages pages. An error may come
// with those of the pages before.
func all[Page, Item any](ctx context.Context, pager *runtime.Pager[Page], items func(Page) []*Item) ([]Item, error) {
	var list []Item
	for range cloud.MaxPages {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return list, short(err)
		}
		for _, item := range items(page) {
			if item != nil {
				list = append(list, *item)
			}
		}
		if !pager.More() {
			return list, nil
		}
	}
	return list, fmt.Errorf("the list has more than %d pages", cloud.MaxPages)
}

// short leaves out the answer and the address that SDKs quote.
func short(err error) error {
	if refused, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return fmt.Errorf("found status %d, want 200: %s", refused.StatusCode, cmp.Or(refused.ErrorCode, "no reason given"))
	}
	if refused, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok && refused.RawResponse != nil {
		return fmt.Errorf("found status %d, want 200", refused.RawResponse.StatusCode)
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	return err
}

// value is what p points to, if it does.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func values(tags map[string]*string) map[string]string {
	plain := make(map[string]string, len(tags))
	for name, p := range tags {
		plain[name] = value(p)
	}
	return plain
}
