package protocol

import "testing"

func TestSlotOf(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int{ // of CLUSTER KEYSLOT
		"123456789": 12739, "": 0, "foo": 12182, "{foo}bar": 12182, "a{foo}b{bar}": 12182,
		"{}foo": 9500, "foo{": 7673, "{{foo}": 13308,
	} {
		if got := Slot(key); got != want {
			t.Errorf("Slot(%q) = %d, want %d", key, got, want)
		}
	}
}

// Each name has a channel of its own, whose slot is that of all channels and keys
// that begin with it.
func TestClusterChannel(t *testing.T) {
	t.Parallel()
	names := []string{
		"a", "{a}", "{a}{}", "{a}{}{}", "{a}b", "b{a}", "{a", "a}", "}a{", "{}", "{}a", "a{}", "{}{a}", "{{a}", "{{a}}", "}", "{", "}{",
		"{a}}", "{a{b}", "a{b", "{{}", "{{}{}", "nightly-report", "{user:1}:report", "a\x00b", "{a}{", "{a}{}b",
	}
	seen := make(map[string]string)
	for _, name := range names {
		channel := clusterChannel(name)
		if other, ok := seen[channel]; ok {
			t.Errorf("%q and %q are both %q", name, other, channel)
		}
		seen[channel] = name
		tag, ok := hashTag(channel)
		if more, _ := hashTag(channel + ":locker:holder"); !ok || more != tag {
			t.Errorf("the channel of %q, %q, has the hash tag %q, its keys %q", name, channel, tag, more)
		}
		if own, ok := hashTag(name); ok && own != tag {
			t.Errorf("the hash tag of %q is %q, that of its channel %q", name, own, tag)
		}
	}
}
