// Minikube's own storage provisioner, for the class that Minikube calls "standard"; it keeps volumes in the folder that is its
// one argument.
package main

import (
	"log"
	"os"

	"k8s.io/minikube/pkg/storage"
)

func main() {
	log.Fatal(storage.StartStorageProvisioner(os.Args[1]))
}
