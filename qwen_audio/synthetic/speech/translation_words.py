"""The words of the parallel grammar (translations.py): one row is one meaning in six languages.

Columns, separated by "|", are in the order of `LANGUAGES`.  A noun is written with its grammatical gender (in
Chinese with its measure word); a verb with the forms that the sentences need; everything else is a whole
phrase in the only form it is used in.
"""

from __future__ import annotations

LANGUAGES = ("en", "de", "zh", "es", "fr", "it")

# Things, countable: gender and noun; measure word and noun in Chinese.
THINGS = """
book | n Buch | 本 书 | m libro | m livre | m libro
newspaper | f Zeitung | 份 报纸 | m periódico | m journal | m giornale
car | n Auto | 辆 车 | m coche | f voiture | f macchina
bicycle | n Fahrrad | 辆 自行车 | f bicicleta | m vélo | f bicicletta
table | m Tisch | 张 桌子 | f mesa | f table | m tavolo
chair | m Stuhl | 把 椅子 | f silla | f chaise | f sedia
lamp | f Lampe | 盏 灯 | f lámpara | f lampe | f lampada
phone | n Telefon | 部 电话 | m teléfono | m téléphone | m telefono
computer | m Computer | 台 电脑 | m ordenador | m ordinateur | m computer
guitar | f Gitarre | 把 吉他 | f guitarra | f guitare | f chitarra
piano | n Klavier | 架 钢琴 | m piano | m piano | m pianoforte
painting | n Bild | 幅 画 | m cuadro | m tableau | m quadro
letter | m Brief | 封 信 | f carta | f lettre | f lettera
key | m Schlüssel | 把 钥匙 | f llave | f clé | f chiave
bag | f Tasche | 个 包 | m bolso | m sac | f borsa
shirt | n Hemd | 件 衬衫 | f camisa | f chemise | f camicia
coat | m Mantel | 件 大衣 | m abrigo | m manteau | m cappotto
hat | m Hut | 顶 帽子 | m sombrero | m chapeau | m cappello
ticket | f Fahrkarte | 张 票 | m billete | m billet | m biglietto
knife | n Messer | 把 刀 | m cuchillo | m couteau | m coltello
box | f Kiste | 个 箱子 | f caja | f boîte | f scatola
ring | m Ring | 枚 戒指 | m anillo | f bague | m anello
umbrella | m Regenschirm | 把 雨伞 | m paraguas | m parapluie | m ombrello
mirror | m Spiegel | 面 镜子 | m espejo | m miroir | m specchio
flower | f Blume | 朵 花 | f flor | f fleur | m fiore
dog | m Hund | 只 狗 | m perro | m chien | m cane
cat | f Katze | 只 猫 | m gato | m chat | m gatto
horse | n Pferd | 匹 马 | m caballo | m cheval | m cavallo
"""

# People as subjects; the last column is the gender that adjectives of the Romance languages agree with.
PEOPLE = """
the teacher | der Lehrer | 老师 | el profesor | le professeur | il professore | m
the doctor | der Arzt | 医生 | el médico | le médecin | il medico | m
the girl | das Mädchen | 女孩 | la niña | la fille | la ragazza | f
the boy | der Junge | 男孩 | el niño | le garçon | il ragazzo | m
the actress | die Schauspielerin | 女演员 | la actriz | l'actrice | l'attrice | f
the driver | der Fahrer | 司机 | el conductor | le chauffeur | l'autista | m
the cook | der Koch | 厨师 | el cocinero | le cuisinier | il cuoco | m
the police officer | der Polizist | 警察 | el policía | le policier | il poliziotto | m
my mother | meine Mutter | 我妈妈 | mi madre | ma mère | mia madre | f
my father | mein Vater | 我爸爸 | mi padre | mon père | mio padre | m
my sister | meine Schwester | 我姐姐 | mi hermana | ma sœur | mia sorella | f
my brother | mein Bruder | 我弟弟 | mi hermano | mon frère | mio fratello | m
my grandmother | meine Großmutter | 我奶奶 | mi abuela | ma grand-mère | mia nonna | f
my uncle | mein Onkel | 我叔叔 | mi tío | mon oncle | mio zio | m
my friend | mein Freund | 我的朋友 | mi amigo | mon ami | il mio amico | m
our neighbor | unser Nachbar | 我们的邻居 | nuestro vecino | notre voisin | il nostro vicino | m
the singer | die Sängerin | 女歌手 | la cantante | la chanteuse | la cantante | f
"""
NAMES = """
Anna | Anna | 安娜 | Anna | Anna | Anna | f
Maria | Maria | 玛丽亚 | María | Maria | Maria | f
Laura | Laura | 劳拉 | Laura | Laura | Laura | f
Martin | Martin | 马丁 | Martín | Martin | Martin | m
David | David | 大卫 | David | David | David | m
Thomas | Thomas | 托马斯 | Thomas | Thomas | Thomas | m
"""
# To whom something is given.
RECEIVERS = """
to the teacher | dem Lehrer | 老师 | al profesor | au professeur | al professore
to the doctor | dem Arzt | 医生 | al médico | au médecin | al medico
to the girl | dem Mädchen | 女孩 | a la niña | à la fille | alla ragazza
to my mother | meiner Mutter | 我妈妈 | a mi madre | à ma mère | a mia madre
to my father | meinem Vater | 我爸爸 | a mi padre | à mon père | a mio padre
to my sister | meiner Schwester | 我姐姐 | a mi hermana | à ma sœur | a mia sorella
to my brother | meinem Bruder | 我弟弟 | a mi hermano | à mon frère | a mio fratello
to our neighbor | unserem Nachbarn | 我们的邻居 | a nuestro vecino | à notre voisin | al nostro vicino
"""

# Verbs with things as objects. English: base, past; German: infinitive, participle; Chinese: verb;
# Spanish: past, future; French and Italian: participle, future.
VERBS = """
buy bought | kaufen gekauft | 买 | compró comprará | acheté achètera | comprato comprerà
sell sold | verkaufen verkauft | 卖 | vendió venderá | vendu vendra | venduto venderà
find found | finden gefunden | 找到 | encontró encontrará | trouvé trouvera | trovato troverà
see saw | sehen gesehen | 看见 | vio verá | vu verra | visto vedrà
draw drew | zeichnen gezeichnet | 画 | dibujó dibujará | dessiné dessinera | disegnato disegnerà
bring brought | bringen gebracht | 带来 | trajo traerá | apporté apportera | portato porterà
choose chose | wählen gewählt | 选 | eligió elegirá | choisi choisira | scelto sceglierà
describe described | beschreiben beschrieben | 描述 | describió describirá | décrit décrira | descritto descriverà
forget forgot | vergessen vergessen | 忘记 | olvidó olvidará | oublié oubliera | dimenticato dimenticherà
steal stole | stehlen gestohlen | 偷 | robó robará | volé volera | rubato ruberà
"""
DOING = """
is looking for | sucht | 在找 | busca | cherche | cerca
is selling | verkauft | 在卖 | vende | vend | vende
is drawing | zeichnet | 在画 | dibuja | dessine | disegna
is buying | kauft | 在买 | compra | achète | compra
is describing | beschreibt | 在描述 | describe | décrit | descrive
"""
# Actions that people want or have to do, as infinitives.
ACTIVITIES = """
play the piano | Klavier spielen | 弹钢琴 | tocar el piano | jouer du piano | suonare il pianoforte
learn English | Englisch lernen | 学英语 | aprender inglés | apprendre l'anglais | imparare l'inglese
learn Chinese | Chinesisch lernen | 学中文 | aprender chino | apprendre le chinois | imparare il cinese
drink tea | Tee trinken | 喝茶 | tomar té | boire du thé | bere il tè
cook fish | Fisch kochen | 做鱼 | cocinar pescado | préparer du poisson | cucinare il pesce
read the newspaper | die Zeitung lesen | 看报纸 | leer el periódico | lire le journal | leggere il giornale
write a letter | einen Brief schreiben | 写一封信 | escribir una carta | écrire une lettre | scrivere una lettera
watch a film | einen Film sehen | 看一部电影 | ver una película | regarder un film | guardare un film
listen to music | Musik hören | 听音乐 | escuchar música | écouter de la musique | ascoltare la musica
clean the house | das Haus putzen | 打扫房子 | limpiar la casa | nettoyer la maison | pulire la casa
visit the museum | das Museum besuchen | 参观博物馆 | visitar el museo | visiter le musée | visitare il museo
sleep | schlafen | 睡觉 | dormir | dormir | dormire
work | arbeiten | 工作 | trabajar | travailler | lavorare
sing | singen | 唱歌 | cantar | chanter | cantare
dance | tanzen | 跳舞 | bailar | danser | ballare
swim | schwimmen | 游泳 | nadar | nager | nuotare
go home | nach Hause gehen | 回家 | ir a casa | rentrer à la maison | andare a casa
wash the car | das Auto waschen | 洗车 | lavar el coche | laver la voiture | lavare la macchina
"""
MODALS = """
wants to | will | 想 | quiere | veut | vuole
has to | muss | 必须 | tiene que | doit | deve
can | kann | 可以 | puede | peut | può
"""

PAST = """
yesterday | gestern | 昨天 | ayer | hier | ieri
yesterday evening | gestern Abend | 昨天晚上 | ayer por la noche | hier soir | ieri sera
last week | letzte Woche | 上周 | la semana pasada | la semaine dernière | la settimana scorsa
last month | letzten Monat | 上个月 | el mes pasado | le mois dernier | il mese scorso
last year | letztes Jahr | 去年 | el año pasado | l'année dernière | l'anno scorso
"""
FUTURE = """
tomorrow | morgen | 明天 | mañana | demain | domani
tonight | heute Abend | 今晚 | esta noche | ce soir | stasera
on Friday | am Freitag | 星期五 | el viernes | vendredi | venerdì
on Sunday | am Sonntag | 星期天 | el domingo | dimanche | domenica
next week | nächste Woche | 下周 | la próxima semana | la semaine prochaine | la prossima settimana
next month | nächsten Monat | 下个月 | el próximo mes | le mois prochain | il mese prossimo
next year | nächstes Jahr | 明年 | el próximo año | l'année prochaine | l'anno prossimo
"""
PLACES = """
in the garden | im Garten | 在花园里 | en el jardín | dans le jardin | in giardino
in the kitchen | in der Küche | 在厨房里 | en la cocina | dans la cuisine | in cucina
at the station | am Bahnhof | 在火车站 | en la estación | à la gare | alla stazione
at the market | auf dem Markt | 在市场 | en el mercado | au marché | al mercato
at school | in der Schule | 在学校 | en la escuela | à l'école | a scuola
in the park | im Park | 在公园里 | en el parque | dans le parc | nel parco
in the library | in der Bibliothek | 在图书馆 | en la biblioteca | à la bibliothèque | in biblioteca
at the hotel | im Hotel | 在酒店 | en el hotel | à l'hôtel | in albergo
at the beach | am Strand | 在海滩 | en la playa | à la plage | in spiaggia
at the airport | am Flughafen | 在机场 | en el aeropuerto | à l'aéroport | all'aeroporto
in the office | im Büro | 在办公室 | en la oficina | au bureau | in ufficio
at home | zu Hause | 在家 | en casa | à la maison | a casa
at the museum | im Museum | 在博物馆 | en el museo | au musée | al museo
at the supermarket | im Supermarkt | 在超市 | en el supermercado | au supermarché | al supermercato
"""
SPOTS = """
on the table | auf dem Tisch | 在桌子上 | en la mesa | sur la table | sul tavolo
under the bed | unter dem Bett | 在床底下 | debajo de la cama | sous le lit | sotto il letto
behind the door | hinter der Tür | 在门后面 | detrás de la puerta | derrière la porte | dietro la porta
on the roof | auf dem Dach | 在屋顶上 | en el tejado | sur le toit | sul tetto
in the living room | im Wohnzimmer | 在客厅里 | en el salón | dans le salon | in soggiorno
in front of the house | vor dem Haus | 在房子前面 | delante de la casa | devant la maison | davanti alla casa
"""
CITIES = """
Berlin | Berlin | 柏林 | Berlín | Berlin | Berlino
Paris | Paris | 巴黎 | París | Paris | Parigi
London | London | 伦敦 | Londres | Londres | Londra
Rome | Rom | 罗马 | Roma | Rome | Roma
Madrid | Madrid | 马德里 | Madrid | Madrid | Madrid
Vienna | Wien | 维也纳 | Viena | Vienne | Vienna
Beijing | Peking | 北京 | Pekín | Pékin | Pechino
Shanghai | Shanghai | 上海 | Shanghái | Shanghai | Shanghai
Tokyo | Tokio | 东京 | Tokio | Tokyo | Tokyo
Lisbon | Lissabon | 里斯本 | Lisboa | Lisbonne | Lisbona
Milan | Mailand | 米兰 | Milán | Milan | Milano
Geneva | Genf | 日内瓦 | Ginebra | Genève | Ginevra
Moscow | Moskau | 莫斯科 | Moscú | Moscou | Mosca
Venice | Venedig | 威尼斯 | Venecia | Venise | Venezia
Warsaw | Warschau | 华沙 | Varsovia | Varsovie | Varsavia
"""

NUMBERS = """
two | zwei | 两 | dos | deux | due
three | drei | 三 | tres | trois | tre
four | vier | 四 | cuatro | quatre | quattro
five | fünf | 五 | cinco | cinq | cinque
six | sechs | 六 | seis | six | sei
seven | sieben | 七 | siete | sept | sette
eight | acht | 八 | ocho | huit | otto
nine | neun | 九 | nueve | neuf | nove
ten | zehn | 十 | diez | dix | dieci
eleven | elf | 十一 | once | onze | undici
"""
AGES = """
twelve | zwölf | 十二 | doce | douze | dodici
fifteen | fünfzehn | 十五 | quince | quinze | quindici
eighteen | achtzehn | 十八 | dieciocho | dix-huit | diciotto
sixteen | sechzehn | 十六 | dieciséis | seize | sedici
thirty | dreißig | 三十 | treinta | trente | trenta
forty | vierzig | 四十 | cuarenta | quarante | quaranta
fifty | fünfzig | 五十 | cincuenta | cinquante | cinquanta
sixty | sechzig | 六十 | sesenta | soixante | sessanta
"""
# Plurals after a number; in Chinese with the measure word.
COUNTED = """
apples | Äpfel | 个苹果 | manzanas | pommes | mele
eggs | Eier | 个鸡蛋 | huevos | œufs | uova
potatoes | Kartoffeln | 个土豆 | patatas | pommes de terre | patate
tomatoes | Tomaten | 个西红柿 | tomates | tomates | pomodori
oranges | Orangen | 个橙子 | naranjas | oranges | arance
lemons | Zitronen | 个柠檬 | limones | citrons | limoni
onions | Zwiebeln | 个洋葱 | cebollas | oignons | cipolle
bananas | Bananen | 根香蕉 | plátanos | bananes | banane
cups of coffee | Tassen Kaffee | 杯咖啡 | tazas de café | tasses de café | tazze di caffè
bottles of water | Flaschen Wasser | 瓶水 | botellas de agua | bouteilles d'eau | bottiglie d'acqua
postcards | Postkarten | 张明信片 | postales | cartes postales | cartoline
pencils | Bleistifte | 支铅笔 | lápices | crayons | matite
"""

# Adjectives after "is": masculine/feminine where they differ.
QUALITIES = """
old | alt | 旧 | viejo/vieja | vieux/vieille | vecchio/vecchia
expensive | teuer | 贵 | caro/cara | cher/chère | caro/cara
cheap | billig | 便宜 | barato/barata | bon marché | economico/economica
heavy | schwer | 重 | pesado/pesada | lourd/lourde | pesante
beautiful | schön | 漂亮 | bonito/bonita | beau/belle | bello/bella
big | groß | 大 | grande | grand/grande | grande
small | klein | 小 | pequeño/pequeña | petit/petite | piccolo/piccola
"""
MOODS = """
tired | müde | 累 | cansado/cansada | fatigué/fatiguée | stanco/stanca
happy | glücklich | 高兴 | contento/contenta | content/contente | contento/contenta
sad | traurig | 难过 | triste | triste | triste
nervous | nervös | 紧张 | nervioso/nerviosa | nerveux/nerveuse | nervoso/nervosa
angry | wütend | 生气 | enfadado/enfadada | fâché/fâchée | arrabbiato/arrabbiata
hungry | hungrig | 饿 | hambriento/hambrienta | affamé/affamée | affamato/affamata
"""
DEGREES = """
is very | ist sehr | 很 | es muy | est très | è molto
is too | ist zu | 太 | es demasiado | est trop | è troppo
is not | ist nicht | 不 | no es | n'est pas | non è
"""
WEATHER = """
it is raining | regnet es | 在下雨 | llueve | il pleut | piove
it is snowing | schneit es | 在下雪 | nieva | il neige | nevica
it is cold | ist es kalt | 很冷 | hace frío | il fait froid | fa freddo
it is hot | ist es heiß | 很热 | hace calor | il fait chaud | fa caldo
"""

# Tables whose words occur in speech, so that they are not taken as unseen words (splits.py).
SPOKEN_TABLES = (
    LANGUAGES, THINGS, PEOPLE, NAMES, RECEIVERS, VERBS, DOING, ACTIVITIES, MODALS, PAST, FUTURE, PLACES, SPOTS, CITIES,
    NUMBERS, AGES, COUNTED, QUALITIES, MOODS, DEGREES, WEATHER,
)  # fmt: skip
