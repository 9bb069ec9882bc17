// Package attack drives a transport with vegeta's Attacker: as many clients that each wait for their answer
// (ClosedLoop), or requests at a rate whether answers come or not (OpenLoop). FindMax looks for the highest rate that
// keeps a promise.
package attack
