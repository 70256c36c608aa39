module event-flow/storage-provisioner

go 1.26

require k8s.io/minikube v1.38.1
