//! Endpoint templates on what paths are made of: true words stay, ids of the kinds in use are folded.

use std::collections::BTreeSet;

use fixtures::Rng;
use sensor::normalize::endpoint_template;

/// Words of paths: of well-known interfaces, file names, slugs, and those that come closest to ids: abbreviations, cases and digits in
/// turns.
const WORDS: &str = "
users orders customers payment_intents setup_intents checkout sessions invoices subscriptions subscription_items
subscriptionItems balance_transactions application_fees country_specs ephemeral_keys credit_notes promotion_codes
tax_rates repos issues pulls comments reactions milestones labels assignees actions runs artifacts workflows
dispatches check-runs check-suites commits branches protection required_status_checks required_pull_request_reviews
dismissal_restrictions code-scanning secret-scanning dependabot getUserById getUsersByName findByStatus findByTags
uploadImage createWithArray createWithList OAuth2Callback oauth2 oauth2callback openid-connect token introspect revoke
userinfo jwks.json .well-known openid-configuration oauth-authorization-server api apis v1 v2 v3 v1beta1 v1alpha1
v2beta2 namespaces pods deployments replicasets statefulsets daemonsets configmaps secrets serviceaccounts
horizontalpodautoscalers customresourcedefinitions kube-system healthz livez readyz metrics.k8s.io
rbac.authorization.k8s.io networking.k8s.io Accounts IncomingPhoneNumbers AvailablePhoneNumbers OutgoingCallerIds
Messages.json Calls.json Recordings.json Conferences Participants SIP CredentialLists IpAccessControlLists wp-json
wp-admin admin-ajax.php wp-login.php wp-content wp-includes wp-sitemap.xml xmlrpc.php wp-cron.php contact-form-7
jquery.min.js jquery-3.6.0.min.js bootstrap.min.css bootstrap.bundle.min.js react-dom.production.min.js
vue.runtime.global.prod.js d3.v7.min.js three.module.js mp3 mp4 index.html index.php favicon.ico apple-touch-icon.png
robots.txt sitemap.xml manifest.json service-worker.js chat.postMessage conversations.list conversations.history
users.lookupByEmail files.upload auth.test rtm.connect usergroups.users.list admin.conversations.convertToPrivate
team.accessLogs me messages mailFolders calendarView events drive root children delta onenote notebooks sectionGroups
deviceManagement deviceCompliancePolicies conditionalAccess identityProtection riskyUsers servicePrincipals
appRoleAssignments oauth2PermissionGrants directoryObjects rest issue createmeta transitions worklog jql search
dashboard filter project version component priority resolution statuscategory servicedeskapi agile board sprint
backlog epic admin shop.json products.json product_listings collections.json smart_collections custom_collections
inventory_levels price_rules discount_codes draft_orders fulfillment_orders graphql.json i18n l10n a11y k8s e2e b2b
p2p b2c utf8 utf-8 base64 base32 base58 md5 sha1 ipv4 ipv6 http2 http3 hls mpeg4 mp4v2 webp2 woff2 s3 ec2 rds2 web3
oauth1 tls13 ssl3 win32 win64 x86 amd64 arm64 armv7 armv7l aarch64 ppc64le riscv64 mips64el getS3BucketByName2
listEC2Instances describeVPCEndpoints createIAMRole getHTTPSProxyURL parseXMLToJSON convertPDFToHTML uploadCSVFile
exportXLSXReport getSMSCode verifyMFADevice enable2FA disable2FA setup2FAToken verifyOTPCode getQRCodeImage
listSSHKeys rotateAPIKeys getAccountBalanceV2 CreateOrderRequestV1 UpdateCustomerDetailsV3
GetPaymentMethodsByCountryCodeV2 MapV2ToV3Response GetB2BPriceListForCustomer GetP2PTransferStatus SendSMSToMSISDN
ValidateIBANAndBIC CheckPSD2Consent GetESGScoreByISIN GetFXRateUSDEUR GetGDPRExportZIP RunETLJobNow SyncLDAPGroups
GetSSLCertCN GetTLS13Ciphers sars-cov-2 web-2.0 top10 q1 q2 h1 fy24q1 mp3-to-mp4 step-1 step2 part-3 level1 tier3
phase2 stage-4 lab01 hw3 iphone15 ps5 windows11 usb3 usb-c-3.2 wifi6 wifi-6e 4k 8k 4k60fps 3d 2d 7days
how-to-build-a-rest-api-with-node-js-and-express the-ultimate-guide-to-kubernetes-networking what-is-oauth-2-0
understanding-http-2-server-push a-b-testing 5g-vs-4g-speed 8-tips-for-better-sleep css3-flexbox-tutorial html5-canvas
intro-to-html5 python3-asyncio es6-features net6 net-8.0 dotnet6 java17 node18 php8 postgres15 mysql8 redis7
mongodb-7.0 debian12 rhel9 centos7 fedora39 release-v1.2.3 v1.2.3 v1.2.3-rc.1 v2.0.0-beta.4 1.2.3 v20 v10 2.x 3.x
stable-1.0 app-release.apk app-debug-1.2.3.apk foo-1.0.0-SNAPSHOT.jar spring-boot-starter-web-3.2.0.pom
my_package-1.0-py3-none-any.whl de-DE en-US en_US zh-Hans zh-Hant-TW pt-BR sr-Latn-RS EUR USD GBP JPY CHF EURUSD
BTCUSDT ETHUSDT XAUUSD BTC-USD AAPL MSFT GOOGL BRK.B FHIR Patient Observation MedicationRequest ExplanationOfBenefit
R4 metadata DSTU2 STU3 StructureDefinition ValueSet CodeSystem ConceptMap Shippers Categories Order_Details
NorthwindModel.svc $metadata $batch $count $value $ref OData V4 odata4 IsFavorite MicrosoftGraphApi Account.svc
Handler.ashx Default.aspx WebResource.axd ScriptResource.axd signalr negotiate hubs szczegolyZamowienia
Rechtsschutzversicherung Strassenverkehrsordnung przegladarka krkPlatba vstupniStranka zkraceniTextu bestaetigung
Geschaeftsfuehrer uebersicht Fussgaengerzone buchungsUebersicht2 KfzVersicherung KFZVersicherungV2 mwstSatz PLZSuche
plzSuche2 GKVBeitrag DSGVOExport AGBText BICSuche SEPALastschrift2 SEPAMandatXMLExport xmlHttpRequest XMLHttpRequest
getElementsByTagName innerHTML WebRTC WebRTCStats WebGL2RenderingContext WebSocketV2 gRPCWebProxy gRPC-Web JSONRPC2
jsonrpc2 JsonRpcV2 rpcV2 RpcHandlerV3 HTMLParser2 CSSOMView DOMParser2 MP3ToWAV OggVorbis2 MPEG2TSMuxer RTMPStreamV2
HLSPlaylistM3U8 playlist.m3u8 init.mp4 TCPDump UDPEcho2 ICMPv6 IPv4ToIPv6 IPv6Prefixes DHCPv6Leases DNSSECKeys2
BGPPeersV2 OSPFv3Areas SNMPv2c SNMPv3Users VXLANVNI2 GREKey32 L2TPv3 L7Policies L4LBRules NAT64Rules PPPoESession
MPLSLabels2 QoSDSCPMap2 PtpClockV2 NTPServers3 RADIUSv2 WPA2PSK WPA3SAE EAPTLSCert2 F5BIGIPPool FortiGate60F
AWS4Request AWSS3V4 S3ObjectV2 ListObjectsV2 PutBucketACL2 GetBucketCORSV2 SQSQueueV2 SNSTopicV2 KMSKeyV2
STSAssumeRoleV2 ECSTaskV4 EKSNodeGroupV2 RDSClusterV2 AWSCognitoIdentityProviderService TrentService GraphqlApiV2
AzureAD2 AADB2CPolicies ExchangeEWS2 MSGraphV1 GCPBigQueryV2 BigQueryMLV1 TPUv4Pods K8sClusterV1 K8SNamespacesV2
GKEHubV1 IoTCoreV2 IoTHubDeviceTwinV2 MQTTv5 CoAPv1 OPCUANodeV2 ModbusRTU2 BACnetIPV2 KNXGroup2 ZWaveNodes2
Zigbee3Devices zip2john x2js h2o2o log4j2 slf4j2 c3p0 p6spy h2db j2ee J2EE w3c W3CDTF b3log n8n v8js y2k Y2KFix r2d2
R2D2 c3po C3POAgent t2micro m5xlarge t3.2xlarge m5a.4xlarge u-6tb1 E2EBuild E2ETestRunV2 A2AAgents A2AAgentCard
M2MToken M2MTokenV2 O2OMapping H2HTransfer C2CMarket B2B2CPortal b2b2c G2BPortal D2CShop V2XSignals V2GCharge
P2PKHAddr P2SHAddr HL7v2 HL7V2Messages hl7v3 ICD10CM icd10cm CPT4Codes SNOMEDCT2 LOINC2RF DICOM3Web pacs2go
";

fn template(path: &str) -> String {
    let mut scratch = Vec::new();
    String::from_utf8_lossy(endpoint_template(path.as_bytes(), &mut scratch)).into_owned()
}

#[test]
fn true_words_stay() {
    assert!(WORDS.split_whitespace().count() > 500);
    let folded: Vec<String> = WORDS
        .split_whitespace()
        .filter(|word| template(word) != *word)
        .map(|word| format!("{word} -> {}", template(word)))
        .collect();
    assert_eq!(folded, Vec::<String>::new());
}

const BASE62: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE64URL: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
const HEX: &str = "0123456789abcdef";
const KUBERNETES: &str = "bcdfghjklmnpqrstvwxz2456789";

/// In `form`, `<62:14>` stands for 14 characters of base 62, and so on.
fn made_up(form: &str, rng: &mut Rng) -> String {
    let mut id = String::new();
    let mut rest = form;
    while let Some((before, behind)) = rest.split_once('<') {
        let (kind, behind) = behind.split_once('>').unwrap();
        let (alphabet, number) = kind.split_once(':').unwrap();
        let alphabet = match alphabet {
            "62" => BASE62,
            "64" => BASE64URL,
            "16" => HEX,
            _ => KUBERNETES,
        };
        id.push_str(before);
        for _ in 0..number.parse().unwrap() {
            id.push(char::from(*rng.pick(alphabet.as_bytes())));
        }
        rest = behind;
    }
    id + rest
}

/// Of 400 ids of each kind, how many templates there are: 400 would be no group at all.
#[test]
fn ids_are_folded() {
    let uuid = "<16:8>-<16:4>-4<16:3>-9<16:3>-<16:12>";
    let with_uuid = |form: &str| form.replace("UUID", uuid);
    for (form, most) in [
        (uuid.to_owned(), 1),
        (with_uuid("UUID.png"), 1),
        (with_uuid("Products(UUID)"), 1),
        (with_uuid("Products(guid'UUID')"), 1),
        (with_uuid("urn:uuid:UUID"), 1),
        (with_uuid("user-UUID"), 1),
        (with_uuid("User-UUID"), 1),
        (with_uuid("user_UUID"), 1),
        (with_uuid("UUID_thumb"), 1),
        (with_uuid("UUID:cancel"), 1),
        (with_uuid("%7BUUID%7D"), 1),
        ("<64:43>".to_owned(), 2),
        ("<62:27>".to_owned(), 8),
        ("<62:22>".to_owned(), 12),
        ("pi_<62:24>".to_owned(), 12),
        ("<64:21>".to_owned(), 20),
        ("<62:20>".to_owned(), 20),
        ("cus_<62:14>".to_owned(), 60),
        ("<62:14>".to_owned(), 90),
        ("<64:11>".to_owned(), 130),
        ("<64:22>==".to_owned(), 12),
        ("web-<k8s:10>-<k8s:5>".to_owned(), 40),
        ("<16:2>:<16:2>:<16:2>:<16:2>:<16:2>:<16:2>".to_owned(), 1),
        ("2001:db8::<16:4>:<16:4>".to_owned(), 1),
        ("index-<64:8>.js".to_owned(), 180),
    ] {
        let mut rng = Rng::new(11);
        let templates: BTreeSet<String> = (0..400).map(|_| template(&made_up(&form, &mut rng))).collect();
        assert!(
            templates.len() <= most,
            "{form}: {} templates, such as {:?}",
            templates.len(),
            templates.iter().take(5)
        );
    }
    let upper = with_uuid("Products(UUID)");
    let mut rng = Rng::new(12);
    let templates: BTreeSet<String> =
        (0..400).map(|_| template(&made_up(&upper, &mut rng).to_ascii_uppercase())).collect();
    assert_eq!(templates, BTreeSet::from(["PRODUCTS({uuid})".to_owned()]));
}
