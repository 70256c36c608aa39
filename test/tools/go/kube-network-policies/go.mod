module event-flow/kube-network-policies

go 1.26

require (
	github.com/florianl/go-nfqueue v1.3.2
	sigs.k8s.io/kube-network-policies v0.8.0
)
