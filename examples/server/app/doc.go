// Package app is the reference server: net/http around an engine of package points, on users in memory or in
// PostgreSQL.
//
//	cfg := app.Defaults()                   // or ParseConfig's, made of flags and environment variables
//	server, err := app.Open(cfg, os.Stderr) // listens
//	go server.Run(ctx)                      // fills the table if need be, and serves
//	<-server.Ready()
//	http.Get("http://" + server.Addr().String())
//
// It is a package so that the command is no more than a few lines, and so that the load tester, benchmarks and tests
// can run the very same server in their own process. [NewHandler] alone is what somebody with a server of their own
// needs.
package app
