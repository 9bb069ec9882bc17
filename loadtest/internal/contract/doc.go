// Package contract checks the responses of a PointsApp server over a whole load test:
//
//   - each has at most 2 different users, with 1..100 points, and a timestamp or null;
//   - at most one timestamp is null, and none is returned twice;
//   - no timestamp is more than a millisecond later than the arrival of its response.
//
// Usage:
//
//	checker := contract.New(contract.Auto, start, true)
//	checker.Check(exchange) // for each complete response
//	result := checker.Result()
package contract
