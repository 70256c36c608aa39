// Minikube's storage provisioner as a process beside the cluster: its arguments are a kubeconfig and the folder for the volumes.
// (Minikube's own main elects a leader by a lock that the client library of its version no longer has.)
package main

import (
	"context"
	"log"
	"os"

	core "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/minikube/pkg/storage"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v6/controller"
)

// Minikube's deletes only what this very process has made, and forgets that when it is restarted.
type provisioner struct{ controller.Provisioner }

func (provisioner) Delete(_ context.Context, volume *core.PersistentVolume) error {
	return os.RemoveAll(volume.Spec.HostPath.Path)
}

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	controller.NewProvisionController(
		client,
		"k8s.io/minikube-hostpath",
		provisioner{storage.NewHostPathProvisioner(os.Args[2])},
		"v1.34.0",
		controller.LeaderElection(false),
	).Run(context.Background())
}
