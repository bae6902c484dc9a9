package main

import (
	"net/http"
	"net/netip"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"remora/rig/policy/enforcer"
)

func newPolicyCommand() *cobra.Command {
	var kubeconfig, node, addresses, socket, health string
	command := &cobra.Command{
		Use: "policy-enforcer",
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			prefix, err := netip.ParsePrefix(addresses)
			if err != nil {
				return err
			}
			node := enforcer.New(client, node, prefix)
			listener, server, err := node.ListenForPods(socket)
			if err != nil {
				return err
			}
			// Whichever of the three ends, the process does.
			ended := make(chan error, 3)
			go func() { ended <- server.Serve(listener) }()
			go func() { ended <- http.ListenAndServe(health, http.HandlerFunc(node.Health)) }()
			go func() { ended <- node.Run(command.Context()) }()
			return <-ended
		},
	}
	flags := command.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "who it is at the API server")
	flags.StringVar(&node, "node", "", "the node's name")
	flags.StringVar(&addresses, "pod-network", "", "range of the addresses of the node's pods")
	flags.StringVar(&socket, "socket", "", "where the network plugin finds it")
	flags.StringVar(&health, "health", "127.0.0.1:9641", "where it answers whether the rules are in place")
	return command
}
