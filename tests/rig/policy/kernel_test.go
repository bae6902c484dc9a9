package policy

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"
)

// How many clusters meet the kernel, in a second or two.
const (
	kernelClusters        = 100
	packetsInEach         = 200
	answerWithin          = 5 * time.Second
	headerLength          = 20
	tunnel                = "rig"
	largestPacket         = 1500
	firstSourcePort       = 40000
	youngOnNode1    uint8 = 201
)

// What the rules are for the kernel is what Allows says: packets of generated
// clusters go into a router that has the ruleset, and come out of it or do not.
func TestTheKernelDecidesAsAllowsDoes(t *testing.T) {
	requireNft(t)
	random := rand.New(rand.NewPCG(seedOf(t), 1))
	router := enterRouter(t)
	var passed, blocked int
	for range kernelClusters {
		cluster := generate(random)
		rules := Compile(cluster, nodes[0])
		load(t, rules.Nft())
		var packets []Packet
		for range packetsInEach {
			packet, _ := traffic(random, cluster)
			// Of a pod that no ruleset knows yet, now and then.
			if random.IntN(8) == 0 {
				packet.Source = netip.AddrFrom4([4]byte{10, 244, 0, youngOnNode1})
			}
			packets = append(packets, packet)
		}
		out := router.through(t, packets)
		for i, packet := range packets {
			if wanted := rules.Allows(packet); out[i] != wanted {
				t.Fatalf("%+v: passes %t, but Allows says %t\n%s", packet, out[i], wanted, rules.Nft())
			} else if wanted {
				passed++
			} else {
				blocked++
			}
		}
	}
	t.Logf("%d packets pass, %d are blocked", passed, blocked)
}

// A tunnel to this process, in a network namespace of its own. What the process
// writes comes in there; what is forwarded goes out there again.
type router struct{ tunnel int }

func enterRouter(t *testing.T) router {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("there is no /dev/net/tun")
	}
	// Never unlocked: the thread ends with the test, and its namespace with it.
	runtime.LockOSThread()
	must(unix.Unshare(unix.CLONE_NEWNET))
	file, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(err)
	t.Cleanup(func() { unix.Close(file) })
	request, err := unix.NewIfreq(tunnel)
	must(err)
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	must(unix.IoctlIfreq(file, unix.TUNSETIFF, request))
	run(t, "ip", "link", "set", tunnel, "up")
	run(t, "ip", "route", "add", "default", "dev", tunnel)
	for name, value := range map[string]string{
		"ip_forward": "1", "conf/all/rp_filter": "0", "conf/" + tunnel + "/rp_filter": "0",
		"conf/all/send_redirects": "0", "conf/" + tunnel + "/send_redirects": "0",
	} {
		// Of the namespace of the thread that looks.
		must(os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0))
	}
	return router{file}
}

// through sends packets, and says which came out.
func (r router) through(t *testing.T, packets []Packet) []bool {
	t.Helper()
	for i, packet := range packets {
		r.write(t, packet, i)
	}
	// The last one is nobody's that policies are about; the kernel keeps the order.
	last := Packet{Source: address("198.51.100.1"), Destination: address("198.51.100.2"), Protocol: core.ProtocolUDP, Port: 9}
	r.write(t, last, len(packets))
	out := make([]bool, len(packets)+1)
	buffer := make([]byte, largestPacket)
	deadline := time.Now().Add(answerWithin)
	for !out[len(packets)] {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(r.tunnel), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil || ready == 0 || time.Now().After(deadline) {
			t.Fatalf("the last packet does not come out: %v", err)
		}
		length, err := unix.Read(r.tunnel, buffer)
		if err != nil {
			t.Fatal(err)
		}
		// The kernel may say something of its own, IPv6 for example.
		if length > headerLength && buffer[0] == 4<<4|headerLength/4 {
			if i := int(binary.BigEndian.Uint16(buffer[headerLength:])) - firstSourcePort; i >= 0 && i < len(out) {
				out[i] = true
			}
		}
	}
	return out[:len(packets)]
}

// write sends a packet that opens a connection. Its source port is its number.
func (r router) write(t *testing.T, packet Packet, number int) {
	t.Helper()
	var protocol byte
	var body []byte
	ports := binary.BigEndian.AppendUint16(nil, uint16(firstSourcePort+number))
	ports = binary.BigEndian.AppendUint16(ports, packet.Port)
	switch packet.Protocol {
	case core.ProtocolTCP:
		protocol = unix.IPPROTO_TCP
		// Sequence, acknowledgement, length of the header, SYN, window, checksum, urgent.
		body = append(ports, 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, 2, 255, 255, 0, 0, 0, 0)
		binary.BigEndian.PutUint16(body[16:], checksum(pseudo(packet, protocol, body), body))
	case core.ProtocolUDP:
		protocol = unix.IPPROTO_UDP
		// Length, and a checksum that says that there is none.
		body = append(ports, 0, 8, 0, 0)
	case core.ProtocolSCTP:
		protocol = unix.IPPROTO_SCTP
		// Tag, checksum, and the chunk INIT: its length, tag, window, streams and number.
		body = append(ports, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 255, 255, 0, 1, 0, 1, 0, 0, 0, 1)
		binary.LittleEndian.PutUint32(body[8:], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	}
	header := []byte{4<<4 | headerLength/4, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0}
	binary.BigEndian.PutUint16(header[2:], uint16(headerLength+len(body)))
	header = append(append(header, packet.Source.AsSlice()...), packet.Destination.AsSlice()...)
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	if _, err := unix.Write(r.tunnel, append(header, body...)); err != nil {
		t.Fatal(err)
	}
}

// pseudo is the header that TCP's checksum counts as well.
func pseudo(packet Packet, protocol byte, body []byte) []byte {
	header := append(packet.Source.AsSlice(), packet.Destination.AsSlice()...)
	return append(header, 0, protocol, byte(len(body)>>8), byte(len(body)))
}

func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, part := range parts {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func requireNft(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("nftables needs root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed")
	}
}

func load(t *testing.T, rules string) {
	t.Helper()
	nft := exec.Command("nft", "--file", "-")
	nft.Stdin = strings.NewReader(rules)
	if output, err := nft.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s\n%s", err, output, rules)
	}
}

func run(t *testing.T, name string, arguments ...string) {
	t.Helper()
	if output, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, output)
	}
}
