#!/bin/bash
# --check-config: silent and 0, or 78 and one line per fault, FILE:LINE: what, expected what.
# timeout: 60
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/tls-lib.sh"

tools=(gw-send gw-listen gw-dedup distributor queue-inspect instance-map)

cat >good.xml <<'END'
<?xml version="1.0" encoding="utf-8"?>
<gatepost>
  <Gateway Endpoint="HQ" Retries="4" RetryIncrement="60s" Outages="wait" RetryPolicy="./policy">
    <Sites>
      <Site Key="Store17" Address="https://store17.example/Store17/" Groups="stores" Window="22:00-05:00" TokenFile="token"
            ClientCert="cert.pem" ClientKey="cert.key" CaFile="cert.pem" HeaderCase="lower"/>
      <Site Key="Store18" Address="stick" ChannelType="test-drop"/>
    </Sites>
    <Channels>
      <Channel Address="http://+:8080/HQ/" Default="true" HeaderNames="X-Shop,Shop.Till"/>
      <Channel Address="http://+:8080/hq/"/>
    </Channels>
  </Gateway>
</gatepost>
END
printf '#!/bin/sh\n' >policy
printf '#!/bin/sh\n' >gw-channel-test-drop
chmod +x policy gw-channel-test-drop
make_ca cert
chmod 600 cert.key
(umask 077; echo secret >token)

cat >original.xml <<'END'
<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <configSections><section name="GatewayConfig" type="NServiceBus.Config.GatewayConfig, NServiceBus.Core" /></configSections>
  <GatewayConfig TransactionTimeout="00:01:00">
    <Sites><Site Key="SiteA" Address="http://SiteA.mycorp.com/" ChannelType="Http" LegacyMode="false"/></Sites>
    <Channels>
      <Channel Address="http://Headquarter.mycorp.com/" ChannelType="Http" Default="true" MaxConcurrency="3"/>
      <Channel Address="http://+:25899/RemoteSite/" ChannelType="Http" NumberOfWorkerThreads="3"/>
    </Channels>
  </GatewayConfig>
  <MasterNodeConfig Node="vm1"/>
  <UnicastBusConfig DistributorControlAddress="Sales.distributor.control@vm1" DistributorDataAddress="Sales@vm1">
    <MessageEndpointMappings><add Assembly="Shared" Endpoint="Sales"/></MessageEndpointMappings>
  </UnicastBusConfig>
  <startup><supportedRuntime version="v4.0"/></startup>
</configuration>
END

# silent FILE: every tool says nothing.
silent() {
  local tool
  for tool in "${tools[@]}"; do
    [ -z "$(PATH=$PATH:$T "$tool" --check-config --config "$1" 2>&1)" ] || { echo "$tool"; return 1; }
  done
}
check "a good file" silent good.xml
check "the original's file" silent original.xml
check "in either place on the command line, without a command" silent good.xml
run_ok gw-send --check-config
same "" "$out$err" "no file at all: nothing to complain about"
run_exit 66 gw-send --check-config --config absent.xml
run_exit 78 gw-send --check-config --config "$T"
like "^$T:1: a directory, expected a file" "$err"

# bad LINE TEXT WHAT <<XML: 78, that line first.
bad() {
  local where=$1 text=$2 tool first=''
  cat >bad.xml
  for tool in gw-send gw-listen; do
    err=$("$tool" --check-config --config bad.xml 2>&1 >out)
    status=$?
    if [ "$status" != 78 ] || [ -s out ]; then fail "$3: status $status"; note "$err"; return; fi
    [ -z "$first" ] || [ "$err" = "$first" ] || { fail "$3: the tools say different things"; return; }
    first=$err
  done
  like "^$T/bad\\.xml:$where: .*$text" "$(head -n 1 <<<"$err")" "$3"
}
site() { printf '<gatepost><Gateway><Sites>\n<Site %s/>\n</Sites></Gateway></gatepost>' "$1"; }
channel() { printf '<gatepost><Gateway><Channels>\n<Channel %s/>\n</Channels></Gateway></gatepost>' "$1"; }
S='Key="S" Address="http://s/"'

bad 1 'no element, expected <gatepost> or <configuration>' "an empty file" </dev/null
bad 1 "text 'Endpoint=HQ' outside of the root element" "no XML" <<<'Endpoint=HQ'
bad 3 'expected well-formed XML' "not closed" <<<$'<gatepost>\n<Gateway>\n</gatepost>'
bad 2 'error parsing element attribute, expected well-formed XML' "a quote forgotten" <<<$'<gatepost>\n<Gateway Endpoint="HQ>\n<Sites/></Gateway></gatepost>'
bad 1 'DOCTYPE, expected none' "DOCTYPE" <<<'<!DOCTYPE x [<!ENTITY a "b">]><gatepost/>'
bad 2 'a second root element <gatepost>, expected the end of the file' "two roots" <<<$'<gatepost/>\n<gatepost/>'
bad 2 "text 'stray' in <Gateway>, expected elements only" "stray text" <<<$'<gatepost><Gateway>\nstray</Gateway></gatepost>'
bad 2 "text 'stray' outside of the root element" "stray text behind the root" <<<$'<gatepost/>\nstray'
bad 2 'not UTF-8' "Latin-1" <<<$'<gatepost>\n<!-- gr\xfcn --></gatepost>'
bad 1 'control byte 1' "control bytes" <<<$'<gatepost><!-- \x01 --></gatepost>'
bad 1 "'&' that begins no known character reference" "an unknown entity" <<<'<gatepost><Gateway Endpoint="&a;"/></gatepost>'
bad 1 "root element <gatpost>, expected <gatepost>, <configuration>; did you mean '<gatepost>'" "another root" <<<'<gatpost/>'
bad 2 "unknown element 'Sits' in <Gateway>.*did you mean '<Sites>'" "a misspelt element" <<<$'<gatepost><Gateway>\n<Sits/></Gateway></gatepost>'
bad 1 "unknown attribute 'Retrys' in <Gateway>, expected .*did you mean 'Retries'" "a misspelt attribute" <<<'<gatepost><Gateway Retrys="3"/></gatepost>'
bad 1 "attribute 'Retries' twice" "an attribute twice" <<<'<gatepost><Gateway Retries="3" Retries="4"/></gatepost>'
bad 2 '<Site> without Address, expected Address=' "no address" < <(site 'Key="S"')
bad 2 "Address='store1' in <Site>, expected http://HOST" "no URL" < <(site 'Key="S" Address="store1"')
bad 2 "Window='25:00-05:00' in <Site>, expected two times" "a window that is none" < <(site "$S Window=\"25:00-05:00\"")
bad 2 "Rate='fast' in <Site>, expected a rate like" "a rate that is none" < <(site "$S Rate=\"fast\"")
bad 2 "Concurrency='0' in <Site>, expected a number from 1" "no concurrency" < <(site "$S Concurrency=\"0\"")
bad 2 "HeaderCase='Lower' in <Site>, expected exact or lower" "a word in the wrong case" < <(site "$S HeaderCase=\"Lower\"")
bad 3 "Key='S' of <Site> is in line 2 already" "a key twice" < <(site "$S/>"$'\n<Site '"$S")
bad 3 "Address='HTTP://[+]:80/A' of <Channel> is in line 2 already" "an address twice" < <(channel 'Address="http://+:80/A/"/>'$'\n<Channel Address="HTTP://+:80/A"')
bad 3 "Default='true' of <Channel> is in line 2 already" "two defaults" \
  < <(channel 'Address="http://+:80/A/" Default="true"/>'$'\n<Channel Address="http://+:80/B/" Default="true"')
bad 2 "MaxBody='2X' in <Channel>, expected a size" "a size that is none" < <(channel 'Address="http://+:80/A/" MaxBody="2X"')
bad 2 "ClientCert without ClientKey in <Site>, expected both or none" "half a pair" < <(site "$S ClientCert=\"cert.pem\"")
bad 2 "Cert without Key in <Channel>, expected both or none" "half a pair of a channel" < <(channel 'Address="https://+:80/A/" Cert="cert.pem"')
bad 2 "TokenFile='absent' in <Site> \\('$T/absent'\\) is not there, expected a file" "a file that is not there" < <(site "$S TokenFile=\"absent\"")
bad 2 "CaFile='\\.' in <Site> .* is a directory, expected a file" "a directory" < <(site "$S CaFile=\".\"")
bad 2 "RetryPolicy='\\./cert.pem' in <Gateway> cannot be executed" "a policy that is no program" <<<$'<gatepost>\n<Gateway RetryPolicy="./cert.pem"/></gatepost>'
bad 2 "RetryPolicy='no-such-policy' in <Gateway> cannot be executed" "a policy that is not there" <<<$'<gatepost>\n<Gateway RetryPolicy="no-such-policy"/></gatepost>'
bad 2 "ChannelType='htp' in <Site> has no program 'gw-channel-htp'.*did you mean 'http'" "no such channel" < <(site "$S ChannelType=\"htp\"")
bad 2 '<Site> without ChannelType, expected' "the original's required attributes" \
  <<<$'<configuration><GatewayConfig><Sites>\n<Site Key="A" Address="http://a/"/></Sites></GatewayConfig></configuration>'
bad 1 "unknown element 'GatewayConfg' in <configuration>" "a near miss in the original's file" <<<'<configuration><GatewayConfg/></configuration>'

# A secret that others can read is no mistake of the file: 77.
echo secret >public
chmod 644 public
site "$S TokenFile=\"public\"" >bad.xml
run_exit 77 gw-listen --check-config --config bad.xml
like "bad.xml:2: TokenFile='public' .* has mode 0644, expected 0400, 0440 or 0600" "$err"

# All at once, in the order of the lines; events for machines as JSON.
site "$S Rate=\"x\"/>"$'\n<Site Key="T" Address="http://t/" TokenFile="absent" Colour="red"' >bad.xml
run_exit 78 gw-send --check-config --config bad.xml
same "2 3 3" "$(cut -d: -f2 <<<"$err" | xargs)" "three faults in two lines"
run_exit 78 gw-send --check-config --log-format json --config bad.xml
same "error" "$(jq -r .event <<<"$err")" "as JSON"

# What a command says that finds no file.
export HOME=$T/nobody
run_exit 64 gw-listen
like "no endpoint: give --endpoint E or --machine NAME, or Endpoint in the configuration file '/[^']*/config.xml', which is not there \\(--config FILE" "$err"
run_exit 64 gw-listen --endpoint HQ
like "no channel: give --channel URL\[,TYPE\], or a Channel element in the configuration file '/[^']*/config.xml', which is not there" "$err"
run_exit 64 gw-send --to Store1
like "the following sites have not been configured: Store1; there is no file '/[^']*/config.xml' \\(use --config FILE or --site KEY=URL\\)" "$err"
run_exit 64 gw-send --to Store71 --config good.xml
like "the following sites have not been configured: Store71; did you mean 'Store17'" "$err"
done_testing
