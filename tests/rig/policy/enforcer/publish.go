package enforcer

import (
	"context"
	"fmt"
	"maps"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Where it is published which policies hold.
const publishedIn = "kube-system"

// publisher writes which policies hold on a node into a ConfigMap, so that a
// test can wait for one instead of guessing: `NAMESPACE.NAME` is the key, `UID
// GENERATION` of the policy the value.
type publisher struct {
	client kubernetes.Interface
	name   string
	// What stands there, if anything is known to.
	standing map[string]string
}

func (p *publisher) publish(ctx context.Context, policies map[string]Version) error {
	data := map[string]string{}
	for name, version := range policies {
		data[name] = fmt.Sprintf("%s %d", version.UID, version.Generation)
	}
	if p.standing != nil && maps.Equal(p.standing, data) {
		return nil
	}
	wanted := &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Name: p.name, Namespace: publishedIn}, Data: data}
	published := p.client.CoreV1().ConfigMaps(publishedIn)
	_, err := published.Update(ctx, wanted, meta.UpdateOptions{})
	if errors.IsNotFound(err) {
		_, err = published.Create(ctx, wanted, meta.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("publishing in %s/%s: %w", publishedIn, p.name, err)
	}
	p.standing = data
	return nil
}
