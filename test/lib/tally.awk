# Counts raw TAP, one file after the other; prints "passed failed skipped" and writes each skip as
# "test<TAB>reason" to the file that `skips` names.
FNR == 1 {
    test = FILENAME
    sub(/.*\//, "", test)
}
/^1\.\.0/ {
    n_skipped++
    reason = $0
    sub(/^1\.\.0[^#]*#? *[Ss][Kk][Ii][Pp]?[^ ]* */, "", reason)
    print test "\t" reason >skips
}
/^ok/ && /# *[Ss][Kk][Ii][Pp]/ {
    n_skipped++
    reason = $0
    sub(/.*# *[Ss][Kk][Ii][Pp][^ ]* */, "", reason)
    print test "\t" reason >skips
    next
}
/^ok/ { n_passed++ }
/^not ok/ { n_failed++ }
END { print n_passed + 0, n_failed + 0, n_skipped + 0 }
