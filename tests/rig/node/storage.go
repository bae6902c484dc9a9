package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v11/controller"
)

// The name by which a StorageClass asks for these volumes.
const provisionerName = "remora.dev/rig-folders"

// folders makes volumes of folders below root. Every node of the rig sees the
// same disk, so a folder can be mounted by many pods at once, whatever their
// node: any access mode that a claim asks for is one it has.
type folders struct{ root string }

func (f folders) Provision(_ context.Context, wanted controller.ProvisionOptions) (*core.PersistentVolume, controller.ProvisioningState, error) {
	folder := filepath.Join(f.root, wanted.PVName)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	// The kubelet hands a hostPath as it is to a pod, whatever its fsGroup, and
	// no pod here is root.
	if err := os.Chmod(folder, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	claim := wanted.PVC.Spec
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: wanted.PVName},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *wanted.StorageClass.ReclaimPolicy,
			AccessModes:                   claim.AccessModes,
			Capacity:                      claim.Resources.Requests,
			PersistentVolumeSource:        core.PersistentVolumeSource{HostPath: &core.HostPathVolumeSource{Path: folder}},
		},
	}, controller.ProvisioningFinished, nil
}

func (f folders) Delete(_ context.Context, volume *core.PersistentVolume) error {
	return os.RemoveAll(filepath.Join(f.root, volume.Name))
}

func newStorageCommand() *cobra.Command {
	var kubeconfig, root string
	command := &cobra.Command{
		Use: "storage-provisioner",
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			// One replica: nobody to elect a leader among.
			controller.NewProvisionController(command.Context(), client, provisionerName, folders{root},
				controller.LeaderElection(false), controller.MetricsAddress("127.0.0.1"), controller.MetricsPort(10260),
			).Run(command.Context())
			return nil
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "who it is at the API server")
	command.Flags().StringVar(&root, "root", "", "folder below which each volume is one")
	return command
}
