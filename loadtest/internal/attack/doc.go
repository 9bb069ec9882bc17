// Package attack generates load: it drives a transport with vegeta's Attacker.
//
//	attack.NewClosed(100, 10_000).Run(ctx, transport) // 100 clients, each with one request at a time
//
//	schedule, err := attack.NewSchedule(attack.Rate{From: 5000, To: 5000}, 30*time.Second)
//	attack.NewOpen(schedule, 1000, time.Now()).Run(ctx, transport) // 5000 requests/s, whether or not they are answered
//
// In a closed loop the offered rate depends on the server: while it stalls, nothing is sent (coordinated omission). In
// an open loop it does not.
package attack
