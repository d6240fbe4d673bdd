# Fails unless the cluster's deployment runs image $1.
set -eu
wget -q -O deployment.json http://cluster:8080/apis/apps/v1/namespaces/default/deployments/hello
running=$(grep -o '"image":"[^"]*"' deployment.json | cut -d '"' -f 4)
[ "$running" = "$1" ] || { echo "the cluster runs $running, not $1" >&2; exit 1; }
echo "the cluster runs $running"
