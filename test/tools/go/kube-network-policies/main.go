// kube-network-policies as a process beside the cluster: its arguments are a kubeconfig, the node's name and the pods' range of
// addresses. What iptables queues is decided in two steps, each of which drops what it can't decide: here, whether the API tells
// already whose an address is; then, by kube-network-policies, whether the policies of both pods let the connection through.
// (Its own main takes a service account of a pod. Its queue is hung in by the rules of `test/cluster/network.ts`, as not every kernel
// has what its own, of nftables, need.)
package main

import (
	"context"
	"errors"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/florianl/go-nfqueue"
	core "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

const (
	byAddress = "pods by address"
	// Longer than kubelet takes to report a new pod's address.
	patience = 10 * time.Second
	interval = 20 * time.Millisecond
	// Enough of a packet for the addresses in its header.
	headers = 128
	// Of a table's name, by the kernel.
	longestName = 255
)

func main() {
	if len(os.Args) != 6 {
		log.Fatalf("usage: %s <kubeconfig> <node> <pods' range> <first queue> <second queue>", os.Args[0])
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, kubeconfig, node, podRange, firstQueue, secondQueue string) error {
	pods, err := netip.ParsePrefix(podRange)
	if err != nil {
		return err
	}
	first, err := strconv.ParseUint(firstQueue, 10, 16)
	if err != nil {
		return err
	}
	second, err := strconv.ParseUint(secondQueue, 10, 16)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	podInformer := factory.Core().V1().Pods().Informer()
	// The one store of pods, so that what is known here is known to the controller, too.
	if err := podInformer.AddIndexers(cache.Indexers{byAddress: addresses}); err != nil {
		return err
	}
	controller, err := networkpolicy.NewController(
		client,
		factory.Networking().V1().NetworkPolicies(),
		factory.Core().V1().Namespaces(),
		factory.Core().V1().Pods(),
		nil, nil, nil, nil,
		networkpolicy.Config{
			NodeName: node,
			QueueID:  int(second),
			// It makes its own rules whenever a pod changes, and nothing turns that off. Where they fail, the kernel takes their chains
			// back, and drops with them whatever waits in a queue: a new pod's first packets, as it is then that its address gets known.
			// By this name nothing is begun of them.
			NFTableName: strings.Repeat("x", longestName+1),
		},
	)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), podInformer.HasSynced) {
		return errors.New("the API's pods could not be listed")
	}
	isKnown := func(address netip.Addr) bool {
		if !pods.Contains(address) {
			return true
		}
		found, err := podInformer.GetIndexer().ByIndex(byAddress, address.String())
		return err == nil && len(found) > 0
	}
	if err := holdStrangers(ctx, uint16(first), isKnown); err != nil {
		return err
	}
	return controller.Run(ctx)
}

// The addresses of a pod that has not ended, whose address may be another's by now.
func addresses(object any) ([]string, error) {
	pod, isPod := object.(*core.Pod)
	if !isPod || pod.Spec.HostNetwork || pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed {
		return nil, nil
	}
	all := make([]string, 0, len(pod.Status.PodIPs))
	for _, each := range pod.Status.PodIPs {
		all = append(all, each.IP)
	}
	return all, nil
}

// A pod sends before the API tells that its address is its own, and a pod that nobody knows is held back by no policy. So the
// first packet of a connection waits until both its ends are known, and is dropped if that takes too long.
func holdStrangers(ctx context.Context, number uint16, isKnown func(netip.Addr) bool) error {
	queue, err := nfqueue.Open(&nfqueue.Config{
		NfQueue:      number,
		Flags:        nfqueue.NfQaCfgFlagGSO,
		MaxPacketLen: headers,
		MaxQueueLen:  1024,
		Copymode:     nfqueue.NfQnlCopyPacket,
		WriteTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	settle := func(id uint32, verdict int) {
		if err := queue.SetVerdict(id, verdict); err != nil {
			log.Printf("a packet's verdict could not be told: %v", err)
		}
	}
	return queue.RegisterWithErrorFunc(ctx, func(packet nfqueue.Attribute) int {
		if packet.PacketID == nil {
			return 0
		}
		id := *packet.PacketID
		if packet.Payload == nil {
			settle(id, nfqueue.NfDrop)
			return 0
		}
		ends, ok := endsOf(*packet.Payload)
		if !ok {
			settle(id, nfqueue.NfDrop)
			return 0
		}
		if allKnown(ends, isKnown) {
			settle(id, nfqueue.NfAccept)
			return 0
		}
		go func() {
			deadline := time.After(patience)
			again := time.NewTicker(interval)
			defer again.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-deadline:
					log.Printf("dropped: %s to %s, of which the API doesn't know one", ends[0], ends[1])
					settle(id, nfqueue.NfDrop)
					return
				case <-again.C:
					if allKnown(ends, isKnown) {
						settle(id, nfqueue.NfAccept)
						return
					}
				}
			}
		}()
		return 0
	}, func(err error) int {
		log.Printf("the queue could not be read: %v", err)
		return 0
	})
}

func allKnown(ends [2]netip.Addr, isKnown func(netip.Addr) bool) bool {
	return isKnown(ends[0]) && isKnown(ends[1])
}

// Where an IPv4 packet comes from and goes to; pods have no other addresses.
func endsOf(packet []byte) ([2]netip.Addr, bool) {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return [2]netip.Addr{}, false
	}
	from, _ := netip.AddrFromSlice(packet[12:16])
	to, _ := netip.AddrFromSlice(packet[16:20])
	return [2]netip.Addr{from, to}, true
}
