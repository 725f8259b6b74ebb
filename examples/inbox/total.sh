# The actual work: prints the total of a file of prices. Exit status 75 (EX_TEMPFAIL)
# would mean that it may succeed later.
exec awk -F , '
	NR == 1 && $0 != "item,price" { bad("want item,price"); exit }
	NR > 1 && $2 !~ /^[0-9]+([.][0-9]+)?$/ { bad("want a price after the comma"); exit }
	NR > 1 { total += $2 }
	END { if (!NR) bad("want item,price"); if (!wrong) printf "%.2f\n", total; exit wrong }
	function bad(what) { wrong = 1; print "line " NR ": " what >"/dev/stderr" }
' <"$1"
