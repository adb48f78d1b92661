# Some seventy applets and constructs of BusyBox's shell that write no files.
# Arguments: a directory with all applets, and one with the files a.txt, b.txt, p.txt, u.txt, sub/s.txt, and the link `link`.
PATH=$1
export PATH
cd $2 || exit 1
echo pipelines; cat a.txt | grep -n a | sort -r | head -3 | tr a-z A-Z
seq 1 20 | awk '{s+=$1} END {print s}'
seq 1 10 | sed -n '3,5p;s/7/seven/p'
printf '%s\n' one two three | while read w; do echo "[$w]"; done
for f in *.txt; do basename $f .txt; done
case abc in a*) echo case ok;; esac
f() { local x=$1; echo "f $x $#"; return 3; }; f p q; echo $?
(cd sub && pwd) | sed s,.*/,,; pwd | sed s,.*/,,
x=$(echo nested $(echo deeper)); echo $x
trap 'echo exit trap' EXIT
trap 'echo got usr1' USR1; kill -USR1 $$; 
sleep 0.05 & p=$!; wait $p; echo waited $?
sh -c 'kill -TERM $$' ; echo term $?
sh -c 'exit 7' || echo seven $?
true && echo and; false || echo or
! false && echo not
cat <<EOF | wc -l
here $x
doc
EOF
cat <<'EOF'
raw $x
EOF
echo $((3*7+1)) $((1<<10)) $((17%5))
echo ${x#nested} ${x%deeper} ${#x} ${undefined:-default}
set -- a b c; shift; echo $1 $#
find . -type f | sort | xargs -n 2 echo
find . -name '*.txt' -exec basename {} \; | sort
tar cf - sub | tar tf - | sort
gzip -c a.txt | gunzip -c | md5sum
sha256sum a.txt; cksum a.txt
cut -d: -f1,3 p.txt | paste -s -d,
uniq -c u.txt | sort -rn | head -2
tac a.txt | head -2; rev a.txt | head -1; nl a.txt | head -2
od -c a.txt | head -2; hexdump -C a.txt | head -2; xxd a.txt 2>/dev/null | head -1
diff a.txt b.txt; echo $?
cmp a.txt b.txt; echo $?
comm a.txt b.txt | head -3
expr 2 + 3; test -d sub && echo dir; [ -x a.txt ] || echo not x
stat -c '%s %F' a.txt; wc a.txt; head -c 5 a.txt; echo; tail -c 5 a.txt
printf '%05d %x %s\n' 42 255 str
date -u -d @0 +%Y-%m-%d
env -i A=b env; printenv HOME >/dev/null; echo $?
dirname /a/b/c; realpath sub/..| sed 's,.*/,,' ; readlink link
yes | head -2; fold -w 3 a.txt | head -2; expand a.txt | head -1
seq 3 | tee /dev/null | wc -l
timeout 1 sleep 5; echo timeout $?
nice -n 3 nice; 
(echo sub; exit 4); echo $?
{ echo group; echo two; } | wc -l
ls | sort; ls -1 sub; du -a sub | wc -l
echo abc | sed 's/\(b\)/<\1>/'
dd if=a.txt bs=1 count=3 2>/dev/null; echo
strings a.txt | head -1; split --help >/dev/null 2>&1; tr -d '\n' < a.txt | wc -c
sum a.txt; base64 a.txt | head -1; base64 a.txt | base64 -d | head -1
usleep 10; sleep 0; wait; jobs; 
bc <<EOF
2^16
EOF
dc -e '5 6 * p' 2>/dev/null
getopt ab: -a -b x y
type cd
awk -F: '{print $1 | "sort"}' p.txt | head -2
sh -c 'echo $0 $1' zero one
exec 3<a.txt; read l <&3; echo $l; exec 3<&-
ulimit -n >/dev/null; umask
i=0; while :; do i=$((i+1)); [ $i -gt 5 ] && break; [ $i = 3 ] && continue; printf $i; done; echo
echo done
