// Package interop tests that this library and portalocker (Python) lock each other
// out on the same Redis: with the portalocker that is installed, of the first of its
// three generations, and with peers that speak the wire protocol of the other two and
// take as long; and with the real version 4, where it is at hand.
package interop
