package attribution
import "testing"
func TestDbg(t *testing.T) {
	v := viewOf(t, podRange(), factsOf(watched(0, 100), watched(200, 10_000), aPod("a").has(theIP).made(10).seen(12).ran(11, 11).versions(5, 5)))
	for _, c := range v.clusters { t.Log(c.Name, c.watched, c.exclusive(), len(c.pods)); for _, s := range c.staysAt(addr(theIP)) { t.Logf("%+v", s); f,to := s.certain(1000,c.watched); t.Log(f-epoch,to-epoch) } }
	t.Log(text(v.Resolve(sent(150))))
}
