// Package contract checks the answers of a PointsApp server over a whole load test:
//
//   - each has at most 2 users, with 1..100 points, and a timestamp or null;
//   - over all of them at most one timestamp is null, and none is given twice;
//   - no timestamp is later than its answer's arrival by more than a millisecond.
package contract
