package attribution

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Each case tells the ledger something of pods at one address and asks who sent.
// The tolerance of clocks is one second.
func TestWhoHadAnAddress(t *testing.T) {
	t.Parallel()
	day := watched(0, 10_000)
	// a is an ordinary pod: made at 10 s, its address seen at 12 s, running from 11 s.
	a := func() *told { return aPod("a").has(theIP).made(10).seen(12).ran(11, 11).versions(5, 5) }
	for _, c := range []struct {
		name  string
		facts []*told
		says  []say
	}{
		{"alive: certain from the first sign of it to the last word of the watch", []*told{day, a()}, []say{
			{sent(8.9), "gap >a [nobody]"},         // before it can have had the address
			{sent(9.1), "exact a [edge]"},          // it can, if clocks differ
			{sent(12.1), "exact a"},                // past the first sign, widened
			{received(9.1), "boundary a [vacant]"}, // traffic to an address that may be nobody's yet
			{answered(9.1), "exact a [edge]"},      // but somebody answered
			{received(12.1), "exact a"},
			{sent(9_000), "exact a"},
			{sent(9_999.5), "gap <a [unwatched]"}, // the watch may have ended a second before
		}},
		{"before the first report of the address: it sends already", []*told{day, aPod("a").has(theIP).made(10).seen(40)}, []say{
			{sent(15), "exact a [edge]"},
			{received(15), "boundary a [vacant]"},
			{sent(41.1), "exact a"},
		}},
		{"a finished pod keeps podIP, and its address is given to another (antrea #8030)", []*told{day,
			a().ran(11, 100).stopped(101), aPod("b").has(theIP).made(140).seen(151).ran(150, 150).versions(9, 9)}, []say{
			{sent(98), "exact a"},
			{sent(101.5), "exact a [edge]"},   // the word is a second late at most, the clocks one more
			{sent(120), "gap <a >b [nobody]"}, // between them
			{sent(145), "exact b [edge]"},
			{sent(152), "exact b"},
			{received(120), "gap <a >b [nobody]"},
		}},
		{"deleted gracefully: the kubelet's word counts, not the delete event", []*told{day,
			a().ran(11, 100).stopped(101).deleted(130, 9), aPod("b").has(theIP).made(104).seen(106).ran(105, 105).versions(8, 8)}, []say{
			{sent(98), "exact a"},
			{sent(110), "exact b"}, // a's object is still there
			{sent(140), "exact b"},
		}},
		{"the kubelet tells of the stop again, and of a later second: the last word counts", []*told{day,
			a().ran(11, 100).stopped(101), a().ran(11, 101).stopped(102)}, []say{
			{sent(102.5), "exact a [edge]"},
		}},
		{"a terminating pod overlaps its successor (mermin #487)", []*told{day,
			a().ran(11, 60).stopped(102), aPod("b").has(theIP).made(80).seen(91).ran(90, 90).versions(8, 8)}, []say{
			{sent(58), "exact a"},
			{sent(78), "exact a [edge]"}, // only its containers' last times are known
			{sent(85), "boundary a b"},
			{sent(95), "boundary a b"}, // a may still hold it, as far as the kubelet said
			{sent(104), "exact b"},
		}},
		{"deleted by force: it may go on sending", []*told{day, a().deleted(60, 9)}, []say{
			{sent(50), "exact a"},
			{sent(61), "exact a [lingers]"},
			{sent(3000), "exact a [lingers]"},
			{received(3000), "boundary a [lingers] [vacant]"}, // or nobody has it
			{answered(3000), "exact a [lingers]"},
			{sent(60 + 3600 + 2), "gap <a [nobody]"}, // an hour after
		}},
		{"deleted by force, and the news of it came long after: that is no address that two had at once", []*told{day,
			a().deleted(160, 9).after(60), aPod("b").has(theIP).made(70).seen(161).ran(72, 72).versions(12, 12)}, []say{
			{sent(48), "exact a"},
			{sent(71.5), "boundary a b"},
			{sent(100), "exact b"},
		}},
		{"deleted by force, and the news of it came long after: until then nobody may have had the address", []*told{day,
			a().deleted(160, 9).after(60)}, []say{
			{sent(100), "exact a"}, // nobody else can have
			{received(48), "exact a"},
			{received(100), "boundary a [lingers] [vacant]"},
			{answered(100), "exact a"},
		}},
		{"two live pods have it, the second since just before the watch ended: neither ends the other", []*told{day,
			a(), aPod("b").has(theIP).made(9_993).seen(9_996).ran(9_995, 9_995).versions(8, 8)}, []say{
			{sent(9_980), "exact a"},
			{sent(9_998), "boundary a b"},
		}},
		{"two pods had it, and the sandbox of the one that ended may still refuse what it is sent", []*told{day,
			a().ran(11, 100).stopped(101), aPod("b").has(theIP).made(50).seen(53).ran(52, 52).versions(8, 8)}, []say{
			{sent(110), "exact b"},
			{answered(110), "boundary a b [vacant]"},
			{answered(140), "exact b"},
		}},
		{"deleted by force and closed by a successor whose version is later", []*told{day,
			a().deleted(60, 9), aPod("b").has(theIP).made(70).seen(81).ran(80, 80).versions(12, 12)}, []say{
			{sent(65), "exact a [lingers]"},
			{sent(75), "boundary a b"},
			{sent(85), "exact b"},
		}},
		{"the successor was shown before the object went: their order is not certain, nothing closes it", []*told{day,
			a().deleted(60, 9), aPod("b").has(theIP).made(40).seen(51).ran(50, 50).versions(7, 7)}, []say{
			{sent(30), "exact a"},
			{sent(45), "ambiguous a b"}, // both on record at once, from 50 to 60
			{sent(70), "ambiguous a b"},
			{sent(1000), "ambiguous a b"},
		}},
		{"without versions, receipt after the removal is order enough", []*told{day,
			a().versions(0, 0).deleted(60, 0), aPod("b").has(theIP).made(70).seen(81).ran(80, 80)}, []say{
			{sent(65), "exact a [lingers]"}, {sent(85), "exact b"},
		}},
		{"without versions, receipt before it is not", []*told{day,
			a().versions(0, 0).deleted(60, 0), aPod("b").has(theIP).made(40).seen(55).ran(50, 50)}, []say{
			{sent(85), "ambiguous a b"}, // a's object was there until 60, and b ran by 50
		}},
		{"two live pods with one address (flowlogs-pipeline #1335)", []*told{day,
			a(), aPod("b").has(theIP).made(40).seen(51).ran(50, 50).versions(7, 7)}, []say{
			{sent(30), "exact a"},
			{sent(45), "ambiguous a b"},
			{sent(500), "ambiguous a b"},
			{answered(500), "ambiguous a b"},
		}},
		{"at once for less than the clocks can explain: one after the other", []*told{day,
			a().ran(11, 52).stopped(53), aPod("b").has(theIP).made(40).seen(51).ran(50.5, 50.5).versions(7, 7)}, []say{
			{sent(51), "boundary a b"},
		}},
		{"a UID with two addresses at once: dual stack", []*told{day, aPod("a").has(theIP, "fd00::9").made(10).seen(12).ran(11, 11).versions(5, 5)}, []say{
			{sent(100), "exact a"}, {sentBy("fd00::9", 100), "exact a"},
		}},
		{"a sandbox made again: a new address, and the old one is lost by then", []*told{day,
			a(), aPod("a").has("10.244.0.10").made(10).seen(200).ran(199, 199).versions(8, 8)}, []say{
			{sent(100), "exact a [edge]"}, // its certain time ended with the last sign of the first sandbox
			{sent(198), "exact a [edge]"},
			{sent(201), "gap <a [nobody]"},
			{sentBy("10.244.0.10", 201.5), "exact a"},
			{sentBy("10.244.0.10", 100), "exact a [edge]"},
			{sentBy("10.244.0.10", 5), "gap >a [nobody]"},
		}},
		{"a sandbox made again after the kubelet's word that it went: who had the new address before is not in doubt", []*told{day,
			a().gaveBack(180), aPod("a").has("10.244.0.10").made(10).seen(200).ran(199, 199).versions(8, 8),
			aPod("b").has("10.244.0.10").made(5).seen(6).ran(6, 90)}, []say{
			{sentBy("10.244.0.10", 150), "exact b"},
			{sentBy("10.244.0.10", 190), "ambiguous b a"},
		}},
		{"made again, versions unknown: receipts far apart tell the order", []*told{day,
			a().versions(0, 0), aPod("a").has("10.244.0.10").made(10).seen(200).ran(199, 199)}, []say{
			{sent(100), "exact a [edge]"}, {sent(202), "gap <a [nobody]"}, {sentBy("10.244.0.10", 201.5), "exact a"},
		}},
		{"a running pod's address changes to one that another has given back (istio #20676)", []*told{day,
			aPod("b").has("10.244.0.10").made(5).seen(6).ran(6, 90).stopped(91).versions(2, 3),
			a(), aPod("a").has("10.244.0.10").made(10).seen(200).ran(199, 199).versions(8, 8)}, []say{
			{sentBy("10.244.0.10", 50), "exact b"}, // a was made long before, but b had it then
			{sentBy("10.244.0.10", 201), "exact a"},
		}},
		{"a slow start: it waited for its volumes, the address was another's meanwhile", []*told{day,
			a().ran(11, 300).stopped(301), aPod("b").has(theIP).made(20).seen(401).ran(400, 400).versions(9, 9)}, []say{
			{sent(100), "exact a"}, // b was made, but can not have had it before a's certain end
			{sent(299.5), "boundary a b"},
			{sent(350), "exact b [edge]"},
			{sent(402), "exact b"},
		}},
		{"a slow start where it ran ten seconds after: no later than ten seconds before", []*told{day,
			a().ran(11, 300).stopped(301), aPod("b").has(theIP).made(20).seen(304).ran(303, 303).versions(9, 9)}, []say{
			{sent(291), "exact a"},
			{sent(292.5), "boundary a b"}, // from 293 less the tolerance
			{sent(305.5), "exact b"},
		}},
		{"never watched: certain time is exact all the same, the rest is a gap", []*told{a().ran(11, 100).stopped(101)}, []say{
			{sent(11.5), "gap <a [unwatched]"},
			{sent(50), "exact a"},
			{sent(99.5), "gap <a [unwatched]"},
			{sent(5), "gap >a [unwatched]"},
		}},
		{"never watched, no end known: certain to its last sign of life", []*told{a().ran(11, 100)}, []say{
			{sent(50), "exact a"}, {sent(101), "gap <a [unwatched]"},
		}},
		{"a list only: it shows who was there, not since when nobody else was", []*told{
			aPod("a").has(theIP).made(10).seenBy(500).ran(11, 290).from(List)}, []say{
			{sent(12.5), "exact a"}, {sent(288), "exact a"}, {sent(291), "gap <a [unwatched]"}, {sent(600), "gap <a [unwatched]"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			facts := factsOf(c.facts...)
			check(t, viewOf(t, podRange(), facts), c.says)
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(facts), func(i, j int) { facts[i], facts[j] = facts[j], facts[i] })
			check(t, viewOf(t, podRange(), append(facts, facts...)), c.says)
		})
	}
}

// A hole in the watch, from 100 s to 200 s; a relist ends it.
func TestWhoHadAnAddressInAHole(t *testing.T) {
	t.Parallel()
	hole := []*told{watched(0, 100), watched(200, 10_000)}
	a := func() *told { return aPod("a").has(theIP).made(10).seen(12).ran(11, 11).versions(5, 5) }
	// doubled are two pods of the cluster that were shown with one address at once.
	doubled := []*told{aPod("x").has("10.244.9.9").made(10).seen(12).ran(11, 11), aPod("y").has("10.244.9.9").made(10).seen(12).ran(11, 11)}
	for _, c := range []struct {
		name  string
		facts []*told
		says  []say
	}{
		{"it was there before and after: nobody else can have had it meanwhile", []*told{a().still(200)}, []say{
			{sent(50), "exact a"}, {sent(150), "exact a"}, {sent(250), "exact a"},
		}},
		{"but in a cluster where two pods ever had one address, that is not certain", append(doubled, a().still(200)), []say{
			{sent(50), "exact a"}, {sent(99.5), "gap <a [unwatched]"}, {sent(150), "gap <a [unwatched]"}, {sent(201.5), "exact a"},
		}},
		{"vanished in it: certain to ten seconds before the watch was lost", []*told{a().missing(200, 100, 50)}, []say{
			{sent(88), "exact a"},
			{sent(95), "exact a"},             // watched, and the only one
			{sent(150), "gap <a [unwatched]"}, // it may be gone, and another come and gone
			{sent(201.5), "boundary a [lingers]"},
			{received(201.5), "boundary a [lingers] [vacant]"},
			{answered(201.5), "boundary a [lingers] [vacant]"},
			{sent(200 + 3600 + 2), "gap <a [nobody]"},
		}},
		{"vanished in it, and the address was another's after: handed over between", []*told{
			a().missing(200, 100, 50), aPod("b").has(theIP).made(120).seen(200).ran(125, 125).versions(40, 40)}, []say{
			{sent(50), "exact a"},
			{sent(300), "exact b"},
		}},
		{"vanished in it, and who is first seen after it had the address before: that ends nothing", []*told{
			a().missing(200, 100, 50), aPod("b").has(theIP).made(5).seen(200).stopped(200).versions(40, 40)}, []say{
			{sent(95), "boundary b a"},
			{sent(201.5), "boundary a [lingers]"},
		}},
		{"the same where addresses were doubled: b's begin does not close a before the relist", append(doubled,
			a().missing(200, 100, 50), aPod("b").has(theIP).made(120).seen(200).ran(125, 125).versions(40, 40)), []say{
			{sent(150), "gap <b [unwatched]"}, // b surely ran, but so may a have
			{sent(200.5), "gap <b [unwatched]"},
			{sent(300), "exact b"},
		}},
		{"missing from a list that came late, and seen since: the list was not complete", []*told{
			a().still(300).versions(5, 60).missing(200, 100, 50)}, []say{
			{sent(150), "exact a"}, {sent(300), "exact a"},
		}},
		{"nobody known around it", []*told{aPod("b").has("10.244.0.77")}, []say{
			{sent(50), "gap [nobody]"}, {sent(150), "gap [unwatched]"},
		}},
		{"known on both sides", []*told{a().ran(11, 50).stopped(51), aPod("b").has(theIP).made(300).seen(302).versions(70, 70)}, []say{
			{sent(150), "gap <a >b [unwatched]"},
		}},
		{"a span that reaches into it: somebody unseen may have begun the flow", []*told{a().missing(200, 100, 50)}, []say{
			{begun(50, 150), "gap <a [unwatched]"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			facts := factsOf(append(append([]*told(nil), hole...), c.facts...)...)
			check(t, viewOf(t, podRange(), facts), c.says)
			rand.New(rand.NewPCG(3, 4)).Shuffle(len(facts), func(i, j int) { facts[i], facts[j] = facts[j], facts[i] })
			check(t, viewOf(t, podRange(), facts), c.says)
		})
	}
}

// The same handover under other tolerances of the clocks.
func TestClockTolerance(t *testing.T) {
	t.Parallel()
	facts := factsOf(watched(0, 10_000), aPod("a").has(theIP).made(10).seen(12).ran(11, 100).stopped(101).versions(5, 5),
		aPod("b").has(theIP).made(103).seen(106).ran(105, 105).versions(9, 9))
	for tolerance, says := range map[time.Duration][]say{
		0: {
			{sent(9.999), "gap >a [nobody]"}, {sent(10), "exact a [edge]"}, {sent(11), "exact a"}, {sent(99.999), "exact a"}, {sent(100), "exact a [edge]"},
			{sent(100.999), "exact a [edge]"}, {sent(101), "gap <a >b [nobody]"}, {sent(103), "exact b [edge]"}, {sent(105), "exact b"},
			{sent(10_000), "exact b"}, {sent(10_000.001), "gap <b [unwatched]"},
		},
		time.Second: {
			{sent(8.999), "gap >a [nobody]"}, {sent(9), "exact a [edge]"}, {sent(12), "exact a"}, {sent(101.999), "exact a [edge]"},
			{sent(102), "exact b [edge]"}, {sent(106), "exact b"},
		},
		5 * time.Second: {
			{sent(5), "exact a [edge]"}, {sent(16), "exact a"}, {sent(98.1), "boundary a b"}, {sent(105), "boundary a b"}, {sent(106), "exact b [edge]"}, {sent(110), "exact b"},
		},
	} {
		cfg := podRange()
		cfg.ClockTolerance = Duration(tolerance)
		t.Run(tolerance.String(), func(t *testing.T) { check(t, viewOf(t, cfg, facts), says) })
	}
}
