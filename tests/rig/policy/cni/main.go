// Command cni is the last network plugin of a pod: it holds the pod back until
// the node's enforcer of NetworkPolicy has rules for it. It changes nothing of
// the pod's network, and starts no pod where no enforcer answers.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// A second more than the enforcer takes at most.
const timeout = 21 * time.Second

// The codes of the CNI specification for what may go wrong here.
const (
	tryAgainLater    = 11
	invalidConfig    = 7
	unsupportedField = 2
)

// config is what the runtime gives on the standard input.
type config struct {
	CNIVersion string          `json:"cniVersion"`
	Socket     string          `json:"socket"`
	PrevResult json.RawMessage `json:"prevResult"`
}

func main() {
	switch os.Getenv("CNI_COMMAND") {
	case "ADD":
		if code, err := add(); err != nil {
			json.NewEncoder(os.Stdout).Encode(map[string]any{"cniVersion": "0.4.0", "code": code, "msg": err.Error()})
			os.Exit(1)
		}
	case "VERSION":
		fmt.Println(`{"cniVersion": "0.4.0", "supportedVersions": ["0.4.0"]}`)
	default:
		// A pod that is gone needs no rules, and there is nothing of it here to check.
	}
}

func add() (int, error) {
	var given config
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return invalidConfig, err
	}
	address, err := addressOf(given.PrevResult)
	if err != nil {
		return unsupportedField, err
	}
	message := map[string]string{"address": address}
	for _, argument := range strings.Split(os.Getenv("CNI_ARGS"), ";") {
		key, value, _ := strings.Cut(argument, "=")
		switch key {
		case "K8S_POD_NAMESPACE":
			message["namespace"] = value
		case "K8S_POD_NAME":
			message["name"] = value
		case "K8S_POD_UID":
			message["uid"] = value
		}
	}
	if err := tell(given.Socket, message); err != nil {
		return tryAgainLater, err
	}
	_, err = os.Stdout.Write(given.PrevResult)
	return tryAgainLater, err
}

// addressOf is the pod's IPv4 address, which plugins before this one gave it.
func addressOf(previous json.RawMessage) (string, error) {
	var result struct {
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	}
	if len(previous) == 0 {
		return "", errors.New("there is no plugin before this one")
	}
	if err := json.Unmarshal(previous, &result); err != nil {
		return "", err
	}
	for _, one := range result.IPs {
		if address, _, err := net.ParseCIDR(one.Address); err == nil && address.To4() != nil {
			return address.String(), nil
		}
	}
	return "", errors.New("the plugins before this one gave no IPv4 address")
}

// tell returns when the enforcer covers the pod.
func tell(socket string, message map[string]string) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: timeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	answer, err := client.Post("http://enforcer/started", "application/json", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the enforcer of NetworkPolicy does not answer: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1024))
		return fmt.Errorf("the enforcer of NetworkPolicy: %s", bytes.TrimSpace(text))
	}
	return nil
}
